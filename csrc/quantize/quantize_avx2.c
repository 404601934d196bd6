#include "quantize_internal.h"

#if TSR_X86
#include <immintrin.h>

#define QUANTIZE_NAME tsr_quantize_avx2
#define QUANTIZE_PATH TSR_CPU_AVX2
#define QUANTIZE_TARGET TSR_TARGET("avx2,bmi,bmi2,popcnt,f16c,fma")
#define UNIT_INLINE QUANTIZE_TARGET TSR_INLINE

typedef struct unit {
    __m256 low, high;
} unit;
typedef __m256 flags;

#define BOTH(expression_low, expression_high) ((unit){expression_low, expression_high})

UNIT_INLINE unit unit_set(float x) { return BOTH(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
UNIT_INLINE unit unit_load(const float *p) { return BOTH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }

UNIT_INLINE void unit_store(float *p, unit x) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}

#define DEFINE_OPERATION(name)                                                                  \
    UNIT_INLINE unit unit_##name(unit x, unit y) {                                              \
        return BOTH(_mm256_##name##_ps(x.low, y.low), _mm256_##name##_ps(x.high, y.high));      \
    }
DEFINE_OPERATION(add)
DEFINE_OPERATION(sub)
DEFINE_OPERATION(mul)
DEFINE_OPERATION(div)
DEFINE_OPERATION(min)
DEFINE_OPERATION(max)

#define DEFINE_REDUCTION(name, operation)                                                       \
    UNIT_INLINE float name(unit x) {                                                            \
        const __m256 eight = _mm256_##operation##_ps(x.low, x.high);                            \
        __m128 y = _mm_##operation##_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)); \
        y = _mm_##operation##_ps(y, _mm_movehl_ps(y, y));                                       \
        return _mm_cvtss_f32(_mm_##operation##_ss(y, _mm_movehdup_ps(y)));                      \
    }
DEFINE_REDUCTION(unit_least, min)
DEFINE_REDUCTION(unit_most, max)

UNIT_INLINE unit unit_round(unit x) {
    return BOTH(_mm256_round_ps(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                _mm256_round_ps(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* x - y * z, rounded once. */
UNIT_INLINE unit unit_sub_product(unit x, unit y, unit z) {
    return BOTH(_mm256_fnmadd_ps(y.low, z.low, x.low), _mm256_fnmadd_ps(y.high, z.high, x.high));
}

/* Whether the magnitude of all, NaN excluded, is below. */
UNIT_INLINE int unit_all_below(unit x, unit limit) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 low = _mm256_cmp_ps(_mm256_andnot_ps(sign, x.low), limit.low, _CMP_LT_OQ);
    const __m256 high = _mm256_cmp_ps(_mm256_andnot_ps(sign, x.high), limit.high, _CMP_LT_OQ);
    return _mm256_movemask_ps(_mm256_and_ps(low, high)) == 0xFF;
}

UNIT_INLINE flags unit_no_flags(void) { return _mm256_setzero_ps(); }
/* The difference of a number and itself is NaN unless it is finite; one comparison finds NaN in any of two. */
UNIT_INLINE flags unit_flag_not_finite(flags f, unit x) {
    const unit difference = unit_sub(x, x);
    return _mm256_or_ps(f, _mm256_cmp_ps(difference.low, difference.high, _CMP_UNORD_Q));
}
UNIT_INLINE int unit_any_flag(flags f) { return _mm256_movemask_ps(f) != 0; }

UNIT_INLINE unit unit_load_bytes(const uint8_t *p, uint8_t flip) {
    const __m128i all = _mm_loadu_si128((const __m128i *)(const void *)p);
    const __m128i bytes = _mm_xor_si128(all, _mm_set1_epi8((char)flip));
    return BOTH(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(bytes, bytes))));
}

/* Adds integers; the bits above the lowest eight are dropped. */
UNIT_INLINE void unit_store_bytes(uint8_t *p, unit x, unit add) {
    const __m256i byte = _mm256_set1_epi32(255);
    const __m256i low = _mm256_add_epi32(_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(add.low));
    const __m256i high = _mm256_add_epi32(_mm256_cvtps_epi32(x.high), _mm256_cvtps_epi32(add.high));
    /* Packing interleaves the halves of its arguments. */
    const __m256i words = _mm256_packus_epi32(_mm256_and_si256(low, byte), _mm256_and_si256(high, byte));
    const __m256i in_order = _mm256_permute4x64_epi64(words, 0xD8);
    const __m128i first = _mm256_castsi256_si128(in_order), second = _mm256_extracti128_si256(in_order, 1);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi16(first, second));
}

#define DEFINE_HALVES(name)                                                                     \
    UNIT_INLINE unit unit_load_##name(const uint8_t *p) {                                       \
        return BOTH(tsr_##name##_load_avx2(p), tsr_##name##_load_avx2(p + 16));                 \
    }                                                                                           \
    UNIT_INLINE void unit_store_##name(uint8_t *p, unit x) {                                    \
        tsr_##name##_store_avx2(p, x.low);                                                      \
        tsr_##name##_store_avx2(p + 16, x.high);                                                \
    }
DEFINE_HALVES(float16)
DEFINE_HALVES(bfloat16)

UNIT_INLINE __m256 load_eight_doubles(const uint8_t *p) {
    const __m128 low = _mm256_cvtpd_ps(_mm256_loadu_pd((const double *)(const void *)p));
    const __m128 high = _mm256_cvtpd_ps(_mm256_loadu_pd((const double *)(const void *)(p + 32)));
    return _mm256_set_m128(high, low);
}

UNIT_INLINE void store_eight_doubles(uint8_t *p, __m256 x) {
    _mm256_storeu_pd((double *)(void *)p, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    _mm256_storeu_pd((double *)(void *)(p + 32), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
}

UNIT_INLINE unit unit_load_float64(const uint8_t *p) {
    return BOTH(load_eight_doubles(p), load_eight_doubles(p + 64));
}

UNIT_INLINE void unit_store_float64(uint8_t *p, unit x) {
    store_eight_doubles(p, x.low);
    store_eight_doubles(p + 64, x.high);
}

QUANTIZE_TARGET static void stream(uint8_t *dst, const uint8_t *src, size_t n) {
    size_t i = smaller(n, (0 - (uintptr_t)dst) % 32);
    memcpy(dst, src, i);
    for (; i + 32 <= n; i += 32) {
        const __m256i line = _mm256_loadu_si256((const __m256i *)(const void *)(src + i));
        _mm256_stream_si256((__m256i *)(void *)(dst + i), line);
    }
    memcpy(dst + i, src + i, n - i);
    _mm_sfence();
}

#define QUANTIZE_STREAM stream
#include "quantize_template.h"
#endif
