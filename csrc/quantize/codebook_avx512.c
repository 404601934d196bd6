/* AVX-512: the thresholds of all 256 levels stay in registers, and a permutation is one step down. */
#include "codebook_internal.h"

#include <float.h>

#if TSR_X86
#define TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi,bmi2,popcnt")

TARGET TSR_INLINE __mmask16 first16(size_t n) { return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xFFFF); }

/* Entries `node` of one level of the tree: of the registers from t on, its lower bits choose the element. */
TARGET TSR_INLINE __m512 pick_1(const __m512 *t, __m512i node) { return _mm512_permutexvar_ps(node, t[0]); }
TARGET TSR_INLINE __m512 pick_2(const __m512 *t, __m512i node) { return _mm512_permutex2var_ps(t[0], node, t[1]); }
TARGET TSR_INLINE __m512 pick_4(const __m512 *t, __m512i node) {
    const __mmask16 upper = _mm512_test_epi32_mask(node, _mm512_set1_epi32(32));
    return _mm512_mask_blend_ps(upper, pick_2(t, node), pick_2(t + 2, node));
}
TARGET TSR_INLINE __m512 pick_8(const __m512 *t, __m512i node) {
    const __mmask16 upper = _mm512_test_epi32_mask(node, _mm512_set1_epi32(64));
    return _mm512_mask_blend_ps(upper, pick_4(t, node), pick_4(t + 4, node));
}

TARGET TSR_INLINE __m512 at_level(const __m512 *t, int level, __m512i node) {
    if (level < 4) return pick_1(t, node);
    if (level == 4) return pick_1(t + 1, node);
    if (level == 5) return pick_2(t + 2, node);
    if (level == 6) return pick_4(t + 4, node);
    return pick_8(t + 8, node);
}

TARGET TSR_INLINE __m512i descend(const __m512 *t, int depth, __m512 x) {
    __m512i node = _mm512_set1_epi32(1);
    TSR_UNROLL
    for (int level = 0; level < depth; level++) {
        const __m512 threshold = at_level(t, level, node);
        const __mmask16 right = _mm512_cmp_ps_mask(x, threshold, _CMP_NLE_UQ);
        node = _mm512_add_epi32(node, node);
        node = _mm512_mask_add_epi32(node, right, node, _mm512_set1_epi32(1));
    }
    return _mm512_sub_epi32(node, _mm512_set1_epi32(1 << depth));
}

TARGET TSR_INLINE void assign_depth(uint8_t *indices, const float *x, size_t n, const float *tree, int depth,
                                    unsigned last, float divisor, int divide) {
    const __m512 d = _mm512_set1_ps(divisor);
    const __m512i most = _mm512_set1_epi32((int)last);
    __m512 t[16];
    for (int i = 0; i < 1 << (depth - 4); i++) t[i] = _mm512_loadu_ps(tree + 16 * i);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = first16(n - i);
        __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        if (divide) v = _mm512_div_ps(v, d);
        const __m512i index = _mm512_min_epu32(descend(t, depth, v), most);
        _mm_mask_storeu_epi8(indices + i, mask, _mm512_cvtepi32_epi8(index));
    }
}

TARGET static void assign(uint8_t *indices, const float *x, size_t n, const float *tree, int depth, unsigned last,
                          float divisor) {
    const int divide = divisor != 1;
#define ASSIGN(depth, divide) assign_depth(indices, x, n, tree, depth, last, divisor, divide)
    if (depth == 4 && divide) ASSIGN(4, 1);
    else if (depth == 4) ASSIGN(4, 0);
    else if (depth == 5) ASSIGN(5, divide);
    else if (depth == 6) ASSIGN(6, divide);
    else if (depth == 7) ASSIGN(7, divide);
    else ASSIGN(8, divide);
#undef ASSIGN
}

TARGET static void look_up(void *dst, const uint8_t *indices, size_t n, const void *table, int width, int small) {
    size_t i = 0;
    if (small && width == 4) {
        const __m512i t = _mm512_loadu_si512(table);
        for (; i + 16 <= n; i += 16) {
            const __m512i index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(indices + i)));
            _mm512_storeu_si512((uint8_t *)dst + 4 * i, _mm512_permutexvar_epi32(index, t));
        }
    } else if (small) {
        const __m512i t = _mm512_loadu_si512(table);
        for (; i + 32 <= n; i += 32) {
            const __m512i index =
                _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(indices + i)));
            _mm512_storeu_si512((uint8_t *)dst + 2 * i, _mm512_permutexvar_epi16(index, t));
        }
    }
    tsr_codebook_look_up_scalar((uint8_t *)dst + (size_t)width * i, indices + i, n - i, table, width, small);
}

TARGET static void add_squares(double lanes[ERROR_LANES], const float *x, const float *y, size_t n) {
    const __m512 greatest = _mm512_set1_ps(FLT_MAX);
    __m512d low = _mm512_loadu_pd(lanes), high = _mm512_loadu_pd(lanes + 8);
    for (size_t i = 0; i < n; i += 16) {
        const __mmask16 mask = first16(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(mask, x + i);
        const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_abs_ps(v), greatest, _CMP_LE_OQ);
        const __m512 d = _mm512_maskz_sub_ps(finite, v, _mm512_maskz_loadu_ps(mask, y + i));
        const __m512d first = _mm512_cvtps_pd(_mm512_castps512_ps256(d));
        const __m512d second = _mm512_cvtps_pd(_mm512_extractf32x8_ps(d, 1));
        low = _mm512_add_pd(low, _mm512_mul_pd(first, first));
        high = _mm512_add_pd(high, _mm512_mul_pd(second, second));
    }
    _mm512_storeu_pd(lanes, low);
    _mm512_storeu_pd(lanes + 8, high);
}

const codebook_kernels tsr_codebook_avx512 = {TSR_CPU_AVX512, assign, look_up, add_squares};
#endif
