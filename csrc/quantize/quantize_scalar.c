/* The plain path, to which the others leave what is shorter than a vector, and the choice of path. */
#include <float.h>

#include "quantize_internal.h"

static void to_float(float *dst, const uint8_t *src, size_t n, int type) {
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        double wide;
        if (type == TSR_FLOAT64) {
            memcpy(&wide, src + 8 * i, sizeof wide);
            dst[i] = (float)wide;
        } else {
            memcpy(&half, src + 2 * i, sizeof half);
            dst[i] = type == TSR_FLOAT16 ? tsr_float16_to_float(half) : tsr_bfloat16_to_float(half);
        }
    }
}

static void from_float(uint8_t *dst, const float *src, size_t n, int type) {
    for (size_t i = 0; i < n; i++) {
        if (type == TSR_FLOAT64) {
            const double wide = src[i];
            memcpy(dst + 8 * i, &wide, sizeof wide);
        } else {
            const uint16_t half =
                type == TSR_FLOAT16 ? tsr_float16_from_float(src[i]) : tsr_bfloat16_from_float(src[i]);
            memcpy(dst + 2 * i, &half, sizeof half);
        }
    }
}

static int range_rows(float *min, float *max, const float *src, size_t n_rows, size_t n_row) {
    int all_finite = 1;
    for (size_t r = 0; r < n_rows; r++, src += n_row) {
        float low = min[r], high = max[r];
        for (size_t i = 0; i < n_row; i++) {
            const float x = src[i];
            if (!is_finite(x)) {
                all_finite = 0;
                continue;
            }
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        min[r] = low;
        max[r] = high;
    }
    return all_finite;
}

/* An element is a row. */
static int range_each(float *min, float *max, const float *src, size_t n) {
    return range_rows(min, max, src, n, 1);
}

/* A double has bits enough that the quotient of floats comes out at a half only if it is one. */
TSR_INLINE uint8_t quantize(float x, float scale, unsigned zero, const affine_grid *grid) {
    const double least = (double)grid->lowest - zero, most = (double)grid->highest - zero;
    double y = (double)x / (double)scale;
    if (!(y == y)) y = 0;
    y = y > least ? y : least;
    y = y < most ? y : most;
    return (uint8_t)(tsr_double_round(y) + (int32_t)zero);
}

TSR_INLINE float dequantize(uint8_t q, float scale, unsigned zero, const affine_grid *grid) {
    const float x = ((float)(q ^ grid->flip) - (float)(zero + grid->flip)) * scale;
    return x > FLT_MAX ? FLT_MAX : x < -FLT_MAX ? -FLT_MAX : x;
}

static int quantize_rows(uint8_t *dst, const float *src, size_t n_rows, size_t n_row, const float *scale,
                         const uint8_t *zero, const affine_grid *grid) {
    int all_finite = 1;
    for (size_t r = 0; r < n_rows; r++, dst += n_row, src += n_row) {
        for (size_t i = 0; i < n_row; i++) {
            all_finite &= is_finite(src[i]);
            dst[i] = quantize(src[i], scale[r], zero ? zero[r] : 0, grid);
        }
    }
    return all_finite;
}

static int quantize_each(uint8_t *dst, const float *src, size_t n, const float *scale, const uint8_t *zero,
                         const affine_grid *grid) {
    return quantize_rows(dst, src, n, 1, scale, zero, grid);
}

static void dequantize_rows(float *dst, const uint8_t *src, size_t n_rows, size_t n_row, const float *scale,
                            const uint8_t *zero, const affine_grid *grid) {
    for (size_t r = 0; r < n_rows; r++, dst += n_row, src += n_row)
        for (size_t i = 0; i < n_row; i++) dst[i] = dequantize(src[i], scale[r], zero ? zero[r] : 0, grid);
}

static void dequantize_each(float *dst, const uint8_t *src, size_t n, const float *scale, const uint8_t *zero,
                            const affine_grid *grid) {
    dequantize_rows(dst, src, n, 1, scale, zero, grid);
}

#define QUANTIZE_TARGET
#include "quantize_pack.h"

const quantize_kernels tsr_quantize_scalar = {
    TSR_CPU_SCALAR, to_float,        from_float,      range_rows, range_each, quantize_rows,
    quantize_each,  dequantize_rows, dequantize_each, pack,       unpack,     NULL,
};

static const quantize_kernels *active = &tsr_quantize_scalar;

const quantize_kernels *tsr_quantize_active(void) { return active; }

void tsr_quantize_install(int path) {
    active = &tsr_quantize_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_quantize_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_quantize_avx512;
#elif TSR_ARM64
    if (path == TSR_CPU_NEON) active = &tsr_quantize_neon;
#endif
    (void)path;
}

int tsr_quantize_kernel_path(void) { return active->path; }
