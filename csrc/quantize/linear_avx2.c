#include "linear_internal.h"

#if TSR_X86
#include <immintrin.h>

#define LINEAR_NAME tsr_linear_avx2
#define LINEAR_PATH TSR_CPU_AVX2
#define LINEAR_TARGET TSR_TARGET("avx2")

typedef struct words {
    __m256i half[2];
} words;

typedef words ints;

typedef struct floats {
    __m256 half[2];
} floats;

LINEAR_TARGET TSR_INLINE words load_words(const int16_t *src) {
    return (words){{_mm256_loadu_si256((const __m256i *)(const void *)src),
                    _mm256_loadu_si256((const __m256i *)(const void *)(src + 16))}};
}

LINEAR_TARGET TSR_INLINE words load_bytes(const uint8_t *src, int is_signed) {
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)src);
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(src + 16));
    if (is_signed) return (words){{_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)}};
    return (words){{_mm256_cvtepu8_epi16(low), _mm256_cvtepu8_epi16(high)}};
}

LINEAR_TARGET TSR_INLINE words all_words(int z) {
    const __m256i all = _mm256_set1_epi16((short)z);
    return (words){{all, all}};
}

LINEAR_TARGET TSR_INLINE words less(words x, words z) {
    return (words){{_mm256_sub_epi16(x.half[0], z.half[0]), _mm256_sub_epi16(x.half[1], z.half[1])}};
}

/* The halves of a byte in a lane of 32 bits become its two words. */
LINEAR_TARGET TSR_INLINE __m256i nibbles_of(const uint8_t *src, __m256i flip) {
    const __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)src));
    const __m256i pairs = _mm256_or_si256(x, _mm256_slli_epi32(x, 12));
    return _mm256_xor_si256(_mm256_and_si256(pairs, _mm256_set1_epi16(15)), flip);
}

LINEAR_TARGET TSR_INLINE words load_nibbles(const uint8_t *src, int is_signed) {
    const __m256i flip = _mm256_set1_epi16(is_signed ? 8 : 0);
    const words x = {{nibbles_of(src, flip), nibbles_of(src + 8, flip)}};
    return is_signed ? less(x, all_words(8)) : x;
}

LINEAR_TARGET TSR_INLINE ints no_ints(void) {
    return (ints){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}

LINEAR_TARGET TSR_INLINE floats no_floats(void) {
    return (floats){{_mm256_setzero_ps(), _mm256_setzero_ps()}};
}

LINEAR_TARGET TSR_INLINE ints dot(ints sum, words a, words b) {
    return (ints){{_mm256_add_epi32(sum.half[0], _mm256_madd_epi16(a.half[0], b.half[0])),
                   _mm256_add_epi32(sum.half[1], _mm256_madd_epi16(a.half[1], b.half[1]))}};
}

LINEAR_TARGET TSR_INLINE floats add_scaled(floats sum, ints x, float factor) {
    const __m256 all = _mm256_set1_ps(factor);
    return (floats){{_mm256_add_ps(sum.half[0], _mm256_mul_ps(_mm256_cvtepi32_ps(x.half[0]), all)),
                     _mm256_add_ps(sum.half[1], _mm256_mul_ps(_mm256_cvtepi32_ps(x.half[1]), all))}};
}

LINEAR_TARGET TSR_INLINE void store_floats(float *dst, floats x) {
    _mm256_storeu_ps(dst, x.half[0]);
    _mm256_storeu_ps(dst + 8, x.half[1]);
}

#include "linear_template.h"
#endif
