#include "planes_internal.h"

#if TSR_X86
#include <immintrin.h>

#define PLANES_NAME tsr_planes_avx2
#define PLANES_PATH TSR_CPU_AVX2
#define PLANES_TARGET TSR_TARGET("avx2,bmi,bmi2,popcnt")

/* For shorter planes the table that split_flags() makes takes longer than they do. */
#define COMPRESS_MIN 1024

PLANES_TARGET static size_t split_flags(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n,
                                        uint8_t common) {
    if (n < COMPRESS_MIN) return tsr_planes_split_flags_scalar(flags, literals, src, n, common);
    /* The places of the bits that a byte has, in order: the shuffle that moves the bytes there together.
     * PEXT would do without, but takes up to 300 cycles on some machines. */
    uint64_t places[256] = {0};
    for (uint32_t m = 1; m < 256; m++) places[m] = places[_blsr_u32(m)] << 8 | _tzcnt_u32(m);
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

#define PLANES_FLAGS split_flags, join_flags
#define PLANES_ZEROS tsr_planes_split_zeros_scalar, tsr_planes_join_zeros_scalar
#include "planes_template.h"
#endif
