#include "planes_internal.h"

#if TSR_X86
#include <immintrin.h>

#define PLANES_NAME tsr_planes_avx2
#define PLANES_PATH TSR_CPU_AVX2
#define PLANES_TARGET TSR_TARGET("avx2,bmi,bmi2,popcnt")

/* For shorter planes the table that split_flags() makes takes longer than they do. */
#define COMPRESS_MIN 1024

/* The places of the bits that a byte has, in order: the shuffle that moves the bytes there together. PEXT would do
 * without, but takes up to 300 cycles on some machines. */
PLANES_TARGET static void make_places(uint64_t places[256]) {
    places[0] = 0;
    for (uint32_t m = 1; m < 256; m++) places[m] = places[_blsr_u32(m)] << 8 | _tzcnt_u32(m);
}

PLANES_TARGET static size_t split_flags(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n,
                                        uint8_t common) {
    if (n < COMPRESS_MIN) return tsr_planes_split_flags_scalar(flags, literals, src, n, common);
    uint64_t places[256];
    make_places(places);
    const __m256i same = _mm256_set1_epi8((char)common);
    size_t i = 0, n_literals = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(src + i));
        const uint32_t differs = ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, same));
        memcpy(flags + i / 8, &differs, 4);
        for (size_t k = 0; k < 4; k++) {
            const uint32_t byte = differs >> (8 * k) & 255;
            const __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(src + i + 8 * k));
            const __m128i shuffle = _mm_loadl_epi64((const __m128i *)(const void *)&places[byte]);
            _mm_storel_epi64((__m128i *)(void *)(literals + n_literals), _mm_shuffle_epi8(eight, shuffle));
            n_literals += (size_t)_mm_popcnt_u32(byte);
        }
    }
    return n_literals + tsr_planes_split_flags_scalar(flags + i / 8, literals + n_literals, src + i, n - i, common);
}

PLANES_TARGET static void join_flags(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals,
                                     uint8_t common) {
    const __m256i same = _mm256_set1_epi8((char)common);
    const __m256i byte_of_flag = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of_flag = _mm256_set1_epi64x((long long)0x8040201008040201);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        uint32_t word;
        memcpy(&word, flags + i / 8, 4);
        const __m256i flag_bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)word), byte_of_flag);
        const __m256i differs = _mm256_cmpeq_epi8(_mm256_and_si256(flag_bytes, bit_of_flag), bit_of_flag);
        /* Less the number of flags up to each, in both halves: -1, if any, for a half's first literal. */
        __m256i count = _mm256_add_epi8(differs, _mm256_slli_si256(differs, 1));
        count = _mm256_add_epi8(count, _mm256_slli_si256(count, 2));
        count = _mm256_add_epi8(count, _mm256_slli_si256(count, 4));
        count = _mm256_add_epi8(count, _mm256_slli_si256(count, 8));
        const uint8_t *const high = literals + _mm_popcnt_u32(word & 0xFFFF);
        const __m256i next = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)high),
                                              _mm_loadu_si128((const __m128i *)(const void *)literals));
        const __m256i place = _mm256_xor_si256(count, _mm256_set1_epi8(-1)); /* of the literal: -count - 1 */
        const __m256i x = _mm256_blendv_epi8(same, _mm256_shuffle_epi8(next, place), differs);
        _mm256_storeu_si256((__m256i *)(void *)(dst + i), x);
        literals = high + _mm_popcnt_u32(word >> 16);
    }
    tsr_planes_join_flags_scalar(dst + i, n - i, flags + i / 8, literals, common);
}

/* Eight elements at a time. Those of eight bytes are left to plain code. */
#define ONES 0x0101010101010101u

PLANES_TARGET TSR_INLINE __m128i load_128(const void *at) { return _mm_loadu_si128((const __m128i *)at); }
PLANES_TARGET TSR_INLINE __m256i load_256(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }
PLANES_TARGET TSR_INLINE __m128i load_64(const void *at) { return _mm_loadl_epi64((const __m128i *)at); }
PLANES_TARGET TSR_INLINE __m128i move_64(uint64_t bytes) { return _mm_cvtsi64_si128((long long)bytes); }

/* Places of words as those of their bytes. */
PLANES_TARGET TSR_INLINE __m128i places_of_bytes(__m128i places) {
    const __m128i twice = _mm_unpacklo_epi8(places, places);
    return _mm_add_epi8(_mm_add_epi8(twice, twice), _mm_set1_epi16(0x0100));
}

/* Positions of words: 1 for what is kept, else the sign's bit doubled. */
PLANES_TARGET TSR_INLINE __m128i positions_16(__m128i x, __m128i is_zero) {
    const __m128i sign = _mm_slli_epi16(_mm_srli_epi16(x, 15), 1);
    return _mm_blendv_epi8(_mm_set1_epi16(ELEMENT_KEPT), sign, is_zero);
}

PLANES_TARGET static size_t split_zeros_16(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n,
                                           const uint64_t places[256]) {
    const __m128i zero = _mm_setzero_si128();
    size_t i = 0, n_elements = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i x = load_128(src + 2 * i);
        const __m128i is_zero = _mm_cmpeq_epi16(_mm_slli_epi16(x, 1), zero);
        const unsigned kept = ~(unsigned)_mm_movemask_epi8(_mm_packs_epi16(is_zero, zero)) & 255;
        const __m128i bytes = _mm_packus_epi16(positions_16(x, is_zero), zero);
        const __m128i shuffle = places_of_bytes(move_64(places[kept]));
        _mm_storel_epi64((__m128i *)(void *)(positions + i), bytes);
        _mm_storeu_si128((__m128i *)(void *)(elements + 2 * n_elements), _mm_shuffle_epi8(x, shuffle));
        n_elements += (size_t)_mm_popcnt_u32(kept);
    }
    return n_elements + tsr_planes_split_zeros_scalar(positions + i, elements + 2 * n_elements, src + 2 * i, n - i, 2);
}

PLANES_TARGET static size_t split_zeros_32(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n,
                                           const uint64_t places[256]) {
    const __m256i zero = _mm256_setzero_si256();
    size_t i = 0, n_elements = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i x = load_256(src + 4 * i);
        const __m256i is_zero = _mm256_cmpeq_epi32(_mm256_slli_epi32(x, 1), zero);
        const unsigned kept = ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_zero)) & 255;
        /* Halves of the numbers are enough to tell their positions: the high ones have the sign. */
        const __m256i high = _mm256_srai_epi32(x, 16);
        const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
        const __m128i zeros =
            _mm_packs_epi32(_mm256_castsi256_si128(is_zero), _mm256_extracti128_si256(is_zero, 1));
        const __m128i bytes = _mm_packus_epi16(positions_16(halves, zeros), _mm_setzero_si128());
        const __m256i order = _mm256_cvtepu8_epi32(move_64(places[kept]));
        _mm_storel_epi64((__m128i *)(void *)(positions + i), bytes);
        _mm256_storeu_si256((__m256i *)(void *)(elements + 4 * n_elements), _mm256_permutevar8x32_epi32(x, order));
        n_elements += (size_t)_mm_popcnt_u32(kept);
    }
    return n_elements + tsr_planes_split_zeros_scalar(positions + i, elements + 4 * n_elements, src + 4 * i, n - i, 4);
}

PLANES_TARGET static size_t split_zeros(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n,
                                        int typesize) {
    uint64_t places[256];
    if (n < COMPRESS_MIN || typesize == 8)
        return tsr_planes_split_zeros_scalar(positions, elements, src, n, typesize);
    make_places(places);
    if (typesize == 2) return split_zeros_16(positions, elements, src, n, places);
    return split_zeros_32(positions, elements, src, n, places);
}

PLANES_TARGET static void join_zeros(uint8_t *dst, size_t n, const uint8_t *positions, const uint8_t *elements,
                                     int typesize) {
    size_t i = 0;
    for (; i + 8 <= n && typesize != 8; i += 8) {
        const uint64_t kept = tsr_load64(positions + i) & ONES;
        /* For each element the number of kept ones before it. */
        const __m128i ranks = move_64(kept * (ONES << 8)), bytes = load_64(positions + i);
        if (typesize == 2) {
            const __m128i words = _mm_cvtepu8_epi16(bytes);
            const __m128i is_kept = _mm_cmpeq_epi16(words, _mm_set1_epi16(ELEMENT_KEPT));
            const __m128i next = _mm_shuffle_epi8(load_128(elements), places_of_bytes(ranks));
            const __m128i sign = _mm_slli_epi16(_mm_srli_epi16(words, 1), 15);
            _mm_storeu_si128((__m128i *)(void *)(dst + 2 * i), _mm_blendv_epi8(sign, next, is_kept));
        } else {
            const __m256i words = _mm256_cvtepu8_epi32(bytes);
            const __m256i is_kept = _mm256_cmpeq_epi32(words, _mm256_set1_epi32(ELEMENT_KEPT));
            const __m256i next = _mm256_permutevar8x32_epi32(load_256(elements), _mm256_cvtepu8_epi32(ranks));
            const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(words, 1), 31);
            _mm256_storeu_si256((__m256i *)(void *)(dst + 4 * i), _mm256_blendv_epi8(sign, next, is_kept));
        }
        elements += (kept * ONES >> 56) * (size_t)typesize;
    }
    tsr_planes_join_zeros_scalar(dst + i * (size_t)typesize, n - i, positions + i, elements, typesize);
}

#define PLANES_FLAGS split_flags, join_flags
#define PLANES_ZEROS split_zeros, join_zeros
#include "planes_template.h"
#endif
