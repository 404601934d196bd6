/* Affine quantization: floats to integers of up to 8 bits and back, and the range of floats that this needs. */
#ifndef TSR_QUANTIZE_INTERNAL_H
#define TSR_QUANTIZE_INTERNAL_H

#include "tersor.h"
#include "tsr_float.h"

/* Elements that pass through a buffer at a time, all buffers of a call staying in the first cache. */
#define TILE 2048
/* Output of so many bytes goes past the cache: filling a line otherwise begins with reading it. */
#define STREAM_MIN ((size_t)4 << 20)
/* Vector kernels take so many elements at a time; fewer are left to the plain loops. */
#define UNIT 16

/* The integers that elements become. */
typedef struct affine_grid {
    float lowest, highest;
    uint8_t flip; /* the sign bit of a stored one, which turned over makes it unsigned; 0 where there is no sign */
} affine_grid;

/*
 * Rows are n_rows * n_row elements, each row with a scale and a zero point of its own; "each" are n elements that
 * all have their own. Zero points are NULL where all are zero. All floats but those of `to_float` and `from_float`
 * are float32.
 */
typedef struct quantize_kernels {
    int path;
    /* n elements of another tsr_float_type to float32 and back. */
    void (*to_float)(float *dst, const uint8_t *src, size_t n, int type);
    void (*from_float)(uint8_t *dst, const float *src, size_t n, int type);
    /* Widen min and max by the finite elements; 1 if there are no others, else 0. */
    int (*range_rows)(float *min, float *max, const float *src, size_t n_rows, size_t n_row);
    int (*range_each)(float *min, float *max, const float *src, size_t n);
    /* One byte an element. NaN becomes the zero point. 1 if all elements are finite, else 0. */
    int (*quantize_rows)(uint8_t *dst, const float *src, size_t n_rows, size_t n_row, const float *scale,
                         const uint8_t *zero, const affine_grid *grid);
    int (*quantize_each)(uint8_t *dst, const float *src, size_t n, const float *scale, const uint8_t *zero,
                         const affine_grid *grid);
    /* What is beyond float32 becomes its largest finite value. */
    void (*dequantize_rows)(float *dst, const uint8_t *src, size_t n_rows, size_t n_row, const float *scale,
                            const uint8_t *zero, const affine_grid *grid);
    void (*dequantize_each)(float *dst, const uint8_t *src, size_t n, const float *scale, const uint8_t *zero,
                            const affine_grid *grid);
    /* 2 * n bytes, of which the low four bits count, to n bytes and back, the first in the low half. */
    void (*pack)(uint8_t *dst, const uint8_t *src, size_t n);
    void (*unpack)(uint8_t *dst, const uint8_t *src, size_t n);
    /* memcpy() that leaves the cache alone; or NULL. */
    void (*stream)(uint8_t *dst, const uint8_t *src, size_t n);
} quantize_kernels;

extern const quantize_kernels tsr_quantize_scalar;
#if TSR_X86
extern const quantize_kernels tsr_quantize_avx2;
extern const quantize_kernels tsr_quantize_avx512;
#elif TSR_ARM64
extern const quantize_kernels tsr_quantize_neon;
#endif

const quantize_kernels *tsr_quantize_active(void);

/* ---- Walking through an array -------------------------------------------------------------------------- */

/* Consecutive elements of at most TILE: whole rows of one channel each, or a part of a row. */
typedef struct tile {
    size_t n_rows, n_row, channel; /* the first row's; the others have those that follow */
} tile;

TSR_INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The elements from `at` on. */
TSR_INLINE tile tile_at(const tsr_channels *channels, size_t at) {
    const size_t row = at / channels->n_inner, before = at % channels->n_inner;
    tile t = {1, smaller(TILE, channels->n_inner - before), row % channels->n_channels};
    if (before == 0 && channels->n_inner <= TILE) {
        t.n_rows = smaller(TILE / channels->n_inner, channels->n_channels - t.channel);
        t.n_rows = smaller(t.n_rows, (channels->n - at) / channels->n_inner);
    }
    return t;
}

/*
 * Short rows would keep the kernels from working in whole vectors. Where all channels fit into a tile, often enough,
 * their rows are looked at as one element of as many channels each; element i of them belongs to channel
 * i / n_inner % n_channels of the others. Returns whether that is so.
 */
TSR_INLINE int tile_widen(tsr_channels *channels) {
    const size_t n_period = channels->n_channels * channels->n_inner;
    if (channels->n_inner >= UNIT || n_period == 0 || n_period > TILE / 2) return 0;
    channels->n_channels = TILE / n_period * n_period;
    channels->n_inner = 1;
    return 1;
}

/* float32 elements, by way of a buffer of TILE elements where they are of another type. */
TSR_INLINE const float *tile_load(float *buffer, const uint8_t *src, size_t at, size_t n, int type,
                                  const quantize_kernels *kernels) {
    src += at * tsr_float_size(type);
    if (type == TSR_FLOAT32) return (const float *)(const void *)src;
    kernels->to_float(buffer, src, n, type);
    return buffer;
}

TSR_INLINE int is_finite(float x) { return (tsr_float_bits(x) & 0x7F800000) != 0x7F800000; }

/* Its index, or n. */
size_t tsr_first_not_finite(const float *x, size_t n);

#endif
