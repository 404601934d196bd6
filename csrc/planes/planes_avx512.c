#include "planes_internal.h"

#if TSR_X86
#include <immintrin.h>

#define PLANES_NAME tsr_planes_avx512
#define PLANES_PATH TSR_CPU_AVX512
#define PLANES_TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi2,popcnt")

PLANES_TARGET static size_t split_flags(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n,
                                        uint8_t common) {
    const __m512i same = _mm512_set1_epi8((char)common);
    size_t i = 0, n_literals = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i x = _mm512_loadu_si512(src + i);
        const __mmask64 differs = _mm512_cmpneq_epi8_mask(x, same);
        memcpy(flags + i / 8, &differs, 8);
        _mm512_storeu_si512(literals + n_literals, _mm512_maskz_compress_epi8(differs, x));
        n_literals += (size_t)_mm_popcnt_u64(differs);
    }
    return n_literals + tsr_planes_split_flags_scalar(flags + i / 8, literals + n_literals, src + i, n - i, common);
}

PLANES_TARGET static void join_flags(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals,
                                     uint8_t common) {
    const __m512i same = _mm512_set1_epi8((char)common);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __mmask64 differs;
        memcpy(&differs, flags + i / 8, 8);
        _mm512_storeu_si512(dst + i, _mm512_mask_expand_epi8(same, differs, _mm512_loadu_si512(literals)));
        literals += _mm_popcnt_u64(differs);
    }
    tsr_planes_join_flags_scalar(dst + i, n - i, flags + i / 8, literals, common);
}

/* W bits an element, LANES of them in a vector, whose positions are a VECTOR of so many bytes. */
#define DEFINE_ZEROS(W, LANES, SET1, BYTES, LOAD_BYTES, STORE_BYTES)                                              \
    PLANES_TARGET static size_t split_zeros_##W(uint8_t *positions, uint8_t *elements, const uint8_t *src,        \
                                                size_t n) {                                                       \
        const __m512i rest = SET1(INT##W##_MAX);                                                                  \
        size_t i = 0, n_elements = 0;                                                                             \
        for (; i + LANES <= n; i += LANES) {                                                                      \
            const __m512i x = _mm512_loadu_si512(src + i * (W / 8));                                              \
            const __mmask##LANES kept = _mm512_test_epi##W##_mask(x, rest);                                       \
            const __mmask##LANES minus = (__mmask##LANES)(_mm512_movepi##W##_mask(x) & ~kept);                    \
            STORE_BYTES(positions + i, BYTES##_mask_mov_epi8(BYTES##_maskz_set1_epi8(kept, ELEMENT_KEPT), minus,  \
                                                             BYTES##_set1_epi8(ELEMENT_MINUS_ZERO)));             \
            _mm512_storeu_si512(elements + n_elements * (W / 8), _mm512_maskz_compress_epi##W(kept, x));          \
            n_elements += (size_t)_mm_popcnt_u64(kept);                                                           \
        }                                                                                                         \
        return n_elements + tsr_planes_split_zeros_scalar(positions + i, elements + n_elements * (W / 8),         \
                                                          src + i * (W / 8), n - i, W / 8);                       \
    }                                                                                                             \
    PLANES_TARGET static void join_zeros_##W(uint8_t *dst, size_t n, const uint8_t *positions,                    \
                                             const uint8_t *elements) {                                           \
        const __m512i sign = SET1(INT##W##_MIN);                                                                  \
        size_t i = 0;                                                                                             \
        for (; i + LANES <= n; i += LANES) {                                                                      \
            const BYTES##_vector bytes = LOAD_BYTES(positions + i);                                               \
            const __mmask##LANES kept = (__mmask##LANES)BYTES##_test_epi8_mask(bytes, BYTES##_set1_epi8(1));      \
            const __mmask##LANES minus = (__mmask##LANES)BYTES##_test_epi8_mask(bytes, BYTES##_set1_epi8(2));     \
            const __m512i zeros = _mm512_maskz_mov_epi##W(minus, sign), next = _mm512_loadu_si512(elements);      \
            _mm512_storeu_si512(dst + i * (W / 8), _mm512_mask_expand_epi##W(zeros, kept, next));                 \
            elements += (size_t)_mm_popcnt_u64(kept) * (W / 8);                                                   \
        }                                                                                                         \
        tsr_planes_join_zeros_scalar(dst + i * (W / 8), n - i, positions + i, elements, W / 8);                   \
    }

typedef __m128i _mm_vector;
typedef __m256i _mm256_vector;

#define LOAD_32(at) _mm256_loadu_si256((const __m256i *)(const void *)(at))
#define LOAD_16(at) _mm_loadu_si128((const __m128i *)(const void *)(at))
#define LOAD_8(at) _mm_loadl_epi64((const __m128i *)(const void *)(at))
#define STORE_32(at, x) _mm256_storeu_si256((__m256i *)(void *)(at), x)
#define STORE_16(at, x) _mm_storeu_si128((__m128i *)(void *)(at), x)
#define STORE_8(at, x) _mm_storel_epi64((__m128i *)(void *)(at), x)

DEFINE_ZEROS(16, 32, _mm512_set1_epi16, _mm256, LOAD_32, STORE_32)
DEFINE_ZEROS(32, 16, _mm512_set1_epi32, _mm, LOAD_16, STORE_16)
DEFINE_ZEROS(64, 8, _mm512_set1_epi64, _mm, LOAD_8, STORE_8)

PLANES_TARGET static size_t split_zeros(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n,
                                        int typesize) {
    if (typesize == 2) return split_zeros_16(positions, elements, src, n);
    if (typesize == 4) return split_zeros_32(positions, elements, src, n);
    return split_zeros_64(positions, elements, src, n);
}

PLANES_TARGET static void join_zeros(uint8_t *dst, size_t n, const uint8_t *positions, const uint8_t *elements,
                                     int typesize) {
    if (typesize == 2) join_zeros_16(dst, n, positions, elements);
    else if (typesize == 4) join_zeros_32(dst, n, positions, elements);
    else join_zeros_64(dst, n, positions, elements);
}

#define PLANES_FLAGS split_flags, join_flags
#define PLANES_ZEROS split_zeros, join_zeros
#include "planes_template.h"
#endif
