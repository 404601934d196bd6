/* AVX2: as AVX-512, eight at a time. */
#include "codebook_internal.h"

#include <float.h>

#if TSR_X86
#define TARGET TSR_TARGET("avx2,bmi,bmi2,popcnt")

/* Entries `node` of one level of the tree, of n registers: its lower bits choose the element. */
TARGET TSR_INLINE __m256 pick_1(const float *t, __m256i node) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(t), node);
}
#define PICK(n, half, bit)                                                                                  \
    TARGET TSR_INLINE __m256 pick_##n(const float *t, __m256i node) {                                       \
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(node, 31 - bit));                        \
        return _mm256_blendv_ps(pick_##half(t, node), pick_##half(t + 8 * half, node), upper);              \
    }
PICK(2, 1, 3)
PICK(4, 2, 4)
PICK(8, 4, 5)
PICK(16, 8, 6)

TARGET TSR_INLINE __m256 at_level(const float *tree, int level, __m256i node) {
    if (level < 3) return pick_1(tree, node);
    if (level == 3) return pick_1(tree + 8, node);
    if (level == 4) return pick_2(tree + 16, node);
    if (level == 5) return pick_4(tree + 32, node);
    if (level == 6) return pick_8(tree + 64, node);
    return pick_16(tree + 128, node);
}

TARGET TSR_INLINE void assign_depth(uint8_t *indices, const float *x, size_t n, const float *tree, int depth,
                                    unsigned last, float divisor, int divide) {
    const __m256 d = _mm256_set1_ps(divisor);
    const __m256i most = _mm256_set1_epi32((int)last);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        if (divide) v = _mm256_div_ps(v, d);
        __m256i node = _mm256_set1_epi32(1);
        TSR_UNROLL
        for (int level = 0; level < depth; level++) {
            const __m256 right = _mm256_cmp_ps(v, at_level(tree, level, node), _CMP_NLE_UQ);
            node = _mm256_sub_epi32(_mm256_add_epi32(node, node), _mm256_castps_si256(right));
        }
        const __m256i index = _mm256_min_epu32(_mm256_sub_epi32(node, _mm256_set1_epi32(1 << depth)), most);
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(index), _mm256_extracti128_si256(index, 1));
        _mm_storel_epi64((__m128i *)(void *)(indices + i), _mm_packus_epi16(words, words));
    }
    tsr_codebook_assign_scalar(indices + i, x + i, n - i, tree, depth, last, divisor);
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
        const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps((const float *)table + 8);
        for (; i + 8 <= n; i += 8) {
            const __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(indices + i)));
            const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
            _mm256_storeu_ps((float *)dst + i, _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index),
                                                                _mm256_permutevar8x32_ps(high, index), upper));
        }
    } else if (small) {
        /* The two bytes of an element have a table each. */
        const __m128i low = _mm_loadu_si128((const __m128i *)table);
        const __m128i high = _mm_loadu_si128((const __m128i *)table + 1);
        const __m128i even = _mm_set1_epi16(0xFF);
        const __m128i first = _mm_packus_epi16(_mm_and_si128(low, even), _mm_and_si128(high, even));
        const __m128i second = _mm_packus_epi16(_mm_srli_epi16(low, 8), _mm_srli_epi16(high, 8));
        for (; i + 16 <= n; i += 16) {
            const __m128i index = _mm_loadu_si128((const __m128i *)(const void *)(indices + i));
            const __m128i a = _mm_shuffle_epi8(first, index), b = _mm_shuffle_epi8(second, index);
            __m128i *const d = (__m128i *)(void *)((uint16_t *)dst + i);
            _mm_storeu_si128(d, _mm_unpacklo_epi8(a, b));
            _mm_storeu_si128(d + 1, _mm_unpackhi_epi8(a, b));
        }
    }
    tsr_codebook_look_up_scalar((uint8_t *)dst + (size_t)width * i, indices + i, n - i, table, width, small);
}

TARGET static void add_squares(double lanes[ERROR_LANES], const float *x, const float *y, size_t n) {
    const __m256 greatest = _mm256_set1_ps(FLT_MAX), sign = _mm256_set1_ps(-0.0f);
    __m256d sums[4];
    size_t i = 0;
    for (int k = 0; k < 4; k++) sums[k] = _mm256_loadu_pd(lanes + 4 * k);
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 4; k += 2) {
            const __m256 v = _mm256_loadu_ps(x + i + 4 * k);
            const __m256 finite = _mm256_cmp_ps(_mm256_andnot_ps(sign, v), greatest, _CMP_LE_OQ);
            const __m256 d = _mm256_and_ps(finite, _mm256_sub_ps(v, _mm256_loadu_ps(y + i + 4 * k)));
            const __m256d first = _mm256_cvtps_pd(_mm256_castps256_ps128(d));
            const __m256d second = _mm256_cvtps_pd(_mm256_extractf128_ps(d, 1));
            sums[k] = _mm256_add_pd(sums[k], _mm256_mul_pd(first, first));
            sums[k + 1] = _mm256_add_pd(sums[k + 1], _mm256_mul_pd(second, second));
        }
    for (int k = 0; k < 4; k++) _mm256_storeu_pd(lanes + 4 * k, sums[k]);
    tsr_codebook_add_squares_scalar(lanes, x + i, y + i, n - i);
}

const codebook_kernels tsr_codebook_avx2 = {TSR_CPU_AVX2, assign, look_up, add_squares};
#endif
