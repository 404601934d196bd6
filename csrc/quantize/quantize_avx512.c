#include "quantize_internal.h"

#if TSR_X86
#include <immintrin.h>

#define QUANTIZE_NAME tsr_quantize_avx512
#define QUANTIZE_PATH TSR_CPU_AVX512
#define QUANTIZE_TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi2,popcnt")
#define UNIT_INLINE QUANTIZE_TARGET TSR_INLINE

typedef __m512 unit;
typedef __mmask16 flags;

UNIT_INLINE unit unit_set(float x) { return _mm512_set1_ps(x); }
UNIT_INLINE unit unit_load(const float *p) { return _mm512_loadu_ps(p); }
UNIT_INLINE void unit_store(float *p, unit x) { _mm512_storeu_ps(p, x); }
UNIT_INLINE unit unit_add(unit x, unit y) { return _mm512_add_ps(x, y); }
UNIT_INLINE unit unit_sub(unit x, unit y) { return _mm512_sub_ps(x, y); }
UNIT_INLINE unit unit_mul(unit x, unit y) { return _mm512_mul_ps(x, y); }
UNIT_INLINE unit unit_div(unit x, unit y) { return _mm512_div_ps(x, y); }
UNIT_INLINE unit unit_min(unit x, unit y) { return _mm512_min_ps(x, y); }
UNIT_INLINE unit unit_max(unit x, unit y) { return _mm512_max_ps(x, y); }
UNIT_INLINE float unit_least(unit x) { return _mm512_reduce_min_ps(x); }
UNIT_INLINE float unit_most(unit x) { return _mm512_reduce_max_ps(x); }

UNIT_INLINE unit unit_round(unit x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT); }
/* x - y * z, rounded once. */
UNIT_INLINE unit unit_sub_product(unit x, unit y, unit z) { return _mm512_fnmadd_ps(y, z, x); }

/* Whether the magnitude of all, NaN excluded, is below. */
UNIT_INLINE int unit_all_below(unit x, unit limit) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), limit, _CMP_NLT_UQ) == 0;
}

UNIT_INLINE flags unit_no_flags(void) { return 0; }
UNIT_INLINE flags unit_flag_not_finite(flags f, unit x) {
    return f | _mm512_fpclass_ps_mask(x, 0x01 | 0x80 | 0x08 | 0x10); /* quiet, signalling, the two infinities */
}
UNIT_INLINE int unit_any_flag(flags f) { return f != 0; }

UNIT_INLINE unit unit_load_bytes(const uint8_t *p, uint8_t flip) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_xor_si128(bytes, _mm_set1_epi8((char)flip))));
}

/* Adds integers; the bits above the lowest eight are dropped. */
UNIT_INLINE void unit_store_bytes(uint8_t *p, unit x, unit add) {
    const __m512i sum = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_cvtps_epi32(add));
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(sum));
}

UNIT_INLINE unit unit_load_float16(const uint8_t *p) { return tsr_float16_load_avx512(p); }
UNIT_INLINE void unit_store_float16(uint8_t *p, unit x) { tsr_float16_store_avx512(p, x); }
UNIT_INLINE unit unit_load_bfloat16(const uint8_t *p) { return tsr_bfloat16_load_avx512(p); }
UNIT_INLINE void unit_store_bfloat16(uint8_t *p, unit x) { tsr_bfloat16_store_avx512(p, x); }

UNIT_INLINE unit unit_load_float64(const uint8_t *p) {
    const __m256 low = _mm512_cvtpd_ps(_mm512_loadu_pd(p)), high = _mm512_cvtpd_ps(_mm512_loadu_pd(p + 64));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

UNIT_INLINE void unit_store_float64(uint8_t *p, unit x) {
    _mm512_storeu_pd(p, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    _mm512_storeu_pd(p + 64, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
}

QUANTIZE_TARGET static void stream(uint8_t *dst, const uint8_t *src, size_t n) {
    size_t i = smaller(n, (0 - (uintptr_t)dst) % 64);
    memcpy(dst, src, i);
    for (; i + 64 <= n; i += 64) {
        _mm512_stream_si512((__m512i *)(void *)(dst + i), _mm512_loadu_si512(src + i));
    }
    memcpy(dst + i, src + i, n - i);
    _mm_sfence();
}

#define QUANTIZE_STREAM stream
#include "quantize_template.h"
#endif
