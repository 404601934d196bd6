#include "linear_internal.h"

#if TSR_X86
#include <immintrin.h>

#define LINEAR_NAME tsr_linear_avx512
#define LINEAR_PATH TSR_CPU_AVX512
#define LINEAR_TARGET TSR_TARGET("avx2,avx512f,avx512bw,avx512vl,avx512vnni")

typedef __m512i words;
typedef __m512i ints;
typedef __m512 floats;

LINEAR_TARGET TSR_INLINE words load_words(const int16_t *src) { return _mm512_loadu_si512(src); }

LINEAR_TARGET TSR_INLINE words load_bytes(const uint8_t *src, int is_signed) {
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)src);
    return is_signed ? _mm512_cvtepi8_epi16(x) : _mm512_cvtepu8_epi16(x);
}

LINEAR_TARGET TSR_INLINE words all_words(int z) { return _mm512_set1_epi16((short)z); }

LINEAR_TARGET TSR_INLINE words less(words x, words z) { return _mm512_sub_epi16(x, z); }

/* The halves of a byte in a lane of 32 bits become its two words. */
LINEAR_TARGET TSR_INLINE words load_nibbles(const uint8_t *src, int is_signed) {
    const __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)src));
    const __m512i pairs = _mm512_or_si512(x, _mm512_slli_epi32(x, 12));
    const __m512i nibbles = _mm512_and_si512(pairs, _mm512_set1_epi16(15));
    if (!is_signed) return nibbles;
    return less(_mm512_xor_si512(nibbles, all_words(8)), all_words(8));
}

LINEAR_TARGET TSR_INLINE ints no_ints(void) { return _mm512_setzero_si512(); }

LINEAR_TARGET TSR_INLINE floats no_floats(void) { return _mm512_setzero_ps(); }

LINEAR_TARGET TSR_INLINE ints dot(ints sum, words a, words b) { return _mm512_dpwssd_epi32(sum, a, b); }

LINEAR_TARGET TSR_INLINE floats add_scaled(floats sum, ints x, float factor) {
    return _mm512_add_ps(sum, _mm512_mul_ps(_mm512_cvtepi32_ps(x), _mm512_set1_ps(factor)));
}

LINEAR_TARGET TSR_INLINE void store_floats(float *dst, floats x) { _mm512_storeu_ps(dst, x); }

#include "linear_template.h"
#endif
