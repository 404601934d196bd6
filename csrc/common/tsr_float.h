/*
 * Floats of 16 bits: IEEE float16 and bfloat16, to float32 and back, rounded to nearest even. Plain C and the
 * instruction sets agree in every bit, NaN included: it stays a NaN, made quiet by a conversion that rounds and by
 * any of float16.
 */
#ifndef TSR_FLOAT_H
#define TSR_FLOAT_H

#include "tsr_compiler.h"

#if TSR_X86
#include <immintrin.h>
#elif TSR_ARM64
#include <arm_neon.h>
#endif

TSR_INLINE uint32_t tsr_float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

TSR_INLINE float tsr_float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x, |x| < 2^31, to the nearest integer, halves to the even one: the sum's lowest bit is worth one. */
TSR_INLINE int32_t tsr_double_round(double x) {
    const double one_and_a_half = 6755399441055744.0; /* times 2^52 */
    uint64_t bits;
    x += one_and_a_half;
    memcpy(&bits, &x, sizeof bits);
    return (int32_t)(uint32_t)bits;
}

TSR_INLINE float tsr_bfloat16_to_float(uint16_t b) { return tsr_float_from_bits((uint32_t)b << 16); }

TSR_INLINE uint16_t tsr_bfloat16_from_float(float x) {
    const uint32_t bits = tsr_float_bits(x);
    const uint32_t rounded = bits + 0x7FFF + (bits >> 16 & 1);
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded >> 16);
}

/* Multiplying by 2^112 moves the exponent, and makes subnormals normal without a branch. */
TSR_INLINE float tsr_float16_to_float(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = (uint32_t)(h & 0x7FFF) << 13;
    uint32_t bits = tsr_float_bits(tsr_float_from_bits(magnitude) * 0x1p112f);
    if ((h & 0x7C00) == 0x7C00) bits = magnitude | 0x7F800000 | ((h & 0x3FF) ? 0x00400000 : 0);
    return tsr_float_from_bits(sign | bits);
}

TSR_INLINE uint16_t tsr_float16_from_float(float x) {
    const uint32_t bits = tsr_float_bits(x), magnitude = bits & 0x7FFFFFFF;
    const uint32_t nan = 0x7E00 | (magnitude >> 13 & 0x3FF);
    const uint32_t normal = (magnitude + 0xFFF + (magnitude >> 13 & 1) - 0x38000000) >> 13;
    /* Adding a half puts the last bit of a subnormal, 2^-24, where the sum's last bit is. */
    const uint32_t subnormal = tsr_float_bits(tsr_float_from_bits(magnitude) + 0.5f) - 0x3F000000;
    uint32_t h = normal;
    if (magnitude < 0x38800000) h = subnormal; /* below 2^-14 */
    if (magnitude >= 0x477FF000) h = 0x7C00;   /* 65520 and more round to infinity */
    if (magnitude > 0x7F800000) h = nan;
    return (uint16_t)(bits >> 16 & 0x8000) | (uint16_t)h;
}

#if TSR_X86
#define TSR_FLOAT_AVX2 TSR_TARGET("avx2,f16c")
#define TSR_FLOAT_AVX512 TSR_TARGET("avx512f,avx512bw,avx512vl")

/* Eight, or sixteen, at a time; pointers need no alignment. */
TSR_FLOAT_AVX2 TSR_INLINE __m256 tsr_float16_load_avx2(const void *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

TSR_FLOAT_AVX2 TSR_INLINE void tsr_float16_store_avx2(void *p, __m256 x) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

TSR_FLOAT_AVX2 TSR_INLINE __m256 tsr_bfloat16_load_avx2(const void *p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

TSR_FLOAT_AVX2 TSR_INLINE void tsr_bfloat16_store_avx2(void *p, __m256 x) {
    const __m256i bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i y = _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, is_nan);
    const __m128i low = _mm256_castsi256_si128(y), upper = _mm256_extracti128_si256(y, 1);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(low, upper));
}

TSR_FLOAT_AVX512 TSR_INLINE __m512 tsr_float16_load_avx512(const void *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

TSR_FLOAT_AVX512 TSR_INLINE void tsr_float16_store_avx512(void *p, __m512 x) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

TSR_FLOAT_AVX512 TSR_INLINE __m512 tsr_bfloat16_load_avx512(const void *p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

TSR_FLOAT_AVX512 TSR_INLINE void tsr_bfloat16_store_avx512(void *p, __m512 x) {
    const __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i y =
        _mm512_mask_or_epi32(_mm512_srli_epi32(sum, 16), is_nan, high, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(y));
}
#elif TSR_ARM64
/* Four at a time; pointers need no alignment. */
TSR_INLINE float32x4_t tsr_float16_load_neon(const void *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

TSR_INLINE void tsr_float16_store_neon(void *p, float32x4_t x) {
    vst1_u8(p, vreinterpret_u8_f16(vcvt_f16_f32(x)));
}

TSR_INLINE float32x4_t tsr_bfloat16_load_neon(const void *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

TSR_INLINE void tsr_bfloat16_store_neon(void *p, float32x4_t x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x), high = vshrq_n_u32(bits, 16);
    const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
    const uint32x4_t sum = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));
    const uint32x4_t y = vbslq_u32(vceqq_f32(x, x), vshrq_n_u32(sum, 16), quiet);
    vst1_u8(p, vreinterpret_u8_u16(vmovn_u32(y)));
}
#endif

#endif
