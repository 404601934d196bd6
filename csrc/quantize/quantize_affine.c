/* Quantizing and back, tile by tile: elements of all types as float32, integers of up to 4 bits by way of bytes. */
#include <float.h>

#include "quantize_internal.h"

static affine_grid grid_of(int bits, int is_symmetric, int is_packed) {
    const float n_levels = (float)(1 << bits);
    affine_grid grid = {0, n_levels - 1, 0};
    if (is_symmetric) {
        grid.highest = n_levels / 2 - 1;
        grid.lowest = -grid.highest;
        grid.flip = is_packed ? 1 << (TSR_AFFINE_PACKED_BITS - 1) : 0x80;
    }
    return grid;
}

void tsr_affine_parameters(float *scale, uint8_t *zero, const float *min, const float *max, size_t n, int bits) {
    const affine_grid grid = grid_of(bits, !zero, 0);
    for (size_t i = 0; i < n; i++) {
        /* Zero is always in the range; one that is upside down is that of no elements. */
        const double low = min[i] < 0 ? min[i] : 0, high = max[i] > 0 ? max[i] : 0;
        const double width = zero ? high - low : -low > high ? -low : high;
        float s = (float)(width / grid.highest);
        if (s < FLT_MIN) s = width > 0 ? FLT_MIN : 1;
        scale[i] = s;
        if (zero) zero[i] = (uint8_t)tsr_double_round(-low / s);
    }
}

/* ---- Two integers a byte, each row of n_row elements from a byte of its own --------------------------- */

/* Elements [at, at + n). */
static void put_packed(uint8_t *dst, const uint8_t *bytes, size_t at, size_t n, size_t n_row,
                       const quantize_kernels *kernels) {
    const size_t row_size = (n_row + 1) / 2;
    while (n) {
        const size_t before = at % n_row;
        uint8_t *out = dst + at / n_row * row_size + before / 2;
        size_t m = smaller(n, n_row - before);
        at += m;
        n -= m;
        if (before & 1) {
            *out++ |= (uint8_t)(*bytes++ << 4);
            m--;
        }
        kernels->pack(out, bytes, m / 2);
        bytes += m;
        if (m & 1) out[m / 2] = bytes[-1] & 0x0F;
    }
}

static void get_packed(uint8_t *bytes, const uint8_t *src, size_t at, size_t n, size_t n_row,
                       const quantize_kernels *kernels) {
    const size_t row_size = (n_row + 1) / 2;
    while (n) {
        const size_t before = at % n_row;
        const uint8_t *in = src + at / n_row * row_size + before / 2;
        size_t m = smaller(n, n_row - before);
        at += m;
        n -= m;
        if (before & 1) {
            *bytes++ = *in++ >> 4;
            m--;
        }
        kernels->unpack(bytes, in, m / 2);
        bytes += m;
        if (m & 1) bytes[-1] = in[m / 2] & 0x0F;
    }
}

void tsr_nibbles_pack(uint8_t *dst, const uint8_t *src, size_t n, size_t n_row) {
    put_packed(dst, src, 0, n, n_row, tsr_quantize_active());
}

void tsr_nibbles_unpack(uint8_t *dst, const uint8_t *src, size_t n, size_t n_row) {
    get_packed(dst, src, 0, n, n_row, tsr_quantize_active());
}

/* ---- Parameters ------------------------------------------------------------------------------------------ */

/* The walk, and the parameters that belong to its channels. */
typedef struct affine_walk {
    tsr_channels shape;
    const float *scale;
    const uint8_t *zero;
    float wide_scale[TILE];
    uint8_t wide_zero[TILE];
} affine_walk;

static void walk_begin(affine_walk *walk, const tsr_channels *channels, const float *scale, const uint8_t *zero) {
    walk->shape = *channels;
    walk->scale = scale;
    walk->zero = zero;
    if (!tile_widen(&walk->shape)) return;
    for (size_t i = 0; i < walk->shape.n_channels; i++) {
        const size_t c = i / channels->n_inner % channels->n_channels;
        walk->wide_scale[i] = scale[c];
        walk->wide_zero[i] = zero ? zero[c] : 0;
    }
    walk->scale = walk->wide_scale;
    if (zero) walk->zero = walk->wide_zero;
}

size_t tsr_affine_quantize(uint8_t *dst, const void *src, int type, const tsr_channels *channels,
                           const float *scale, const uint8_t *zero, int bits, size_t n_row) {
    const quantize_kernels *const kernels = tsr_quantize_active();
    const int packed = bits <= TSR_AFFINE_PACKED_BITS;
    const affine_grid grid = grid_of(bits, !zero, packed);
    size_t first = channels->n;
    float buffer[TILE];
    uint8_t bytes[TILE];
    affine_walk walk;
    walk_begin(&walk, channels, scale, zero);
    for (size_t at = 0; at < channels->n;) {
        const tile t = tile_at(&walk.shape, at);
        const size_t n = t.n_rows * t.n_row;
        const float *const x = tile_load(buffer, src, at, n, type, kernels), *const s = walk.scale + t.channel;
        const uint8_t *const z = walk.zero ? walk.zero + t.channel : NULL;
        uint8_t *const out = packed ? bytes : dst + at;
        const int all_finite = t.n_row == 1 ? kernels->quantize_each(out, x, n, s, z, &grid)
                                            : kernels->quantize_rows(out, x, t.n_rows, t.n_row, s, z, &grid);
        if (TSR_UNLIKELY(!all_finite) && first == channels->n) first = at + tsr_first_not_finite(x, n);
        if (packed) put_packed(dst, bytes, at, n, n_row, kernels);
        at += n;
    }
    return first;
}

void tsr_affine_dequantize(void *dst, int type, const uint8_t *src, const tsr_channels *channels, const float *scale,
                           const uint8_t *zero, int bits, size_t n_row) {
    const quantize_kernels *const kernels = tsr_quantize_active();
    const int packed = bits <= TSR_AFFINE_PACKED_BITS;
    const affine_grid grid = grid_of(bits, !zero, packed);
    const size_t size = tsr_float_size(type);
    const int streams = kernels->stream && channels->n * size >= STREAM_MIN;
    float buffer[TILE];
    uint8_t bytes[TILE], other[TILE * sizeof(double)];
    affine_walk walk;
    walk_begin(&walk, channels, scale, zero);
    for (size_t at = 0; at < channels->n;) {
        const tile t = tile_at(&walk.shape, at);
        const size_t n = t.n_rows * t.n_row;
        const float *const s = walk.scale + t.channel;
        const uint8_t *const z = walk.zero ? walk.zero + t.channel : NULL;
        const uint8_t *in = src + at;
        uint8_t *const to = (uint8_t *)dst + at * size;
        float *const out = type == TSR_FLOAT32 && !streams ? (float *)(void *)to : buffer;
        if (packed) {
            get_packed(bytes, src, at, n, n_row, kernels);
            in = bytes;
        }
        if (t.n_row == 1) kernels->dequantize_each(out, in, n, s, z, &grid);
        else kernels->dequantize_rows(out, in, t.n_rows, t.n_row, s, z, &grid);
        if (type != TSR_FLOAT32) kernels->from_float(streams ? other : to, buffer, n, type);
        if (streams) kernels->stream(to, type == TSR_FLOAT32 ? (const uint8_t *)buffer : other, n * size);
        at += n;
    }
}

/* Four sums, whatever the path: the order of additions decides how they are rounded. */
static double squared_error(const float *x, const float *y, size_t n) {
    double sums[4] = {0};
    for (size_t i = 0; i < n; i++) {
        const double difference = is_finite(x[i]) ? (double)x[i] - (double)y[i] : 0;
        sums[i % 4] += difference * difference;
    }
    return sums[0] + sums[1] + (sums[2] + sums[3]);
}

void tsr_affine_error(double *error, const void *src, int type, const tsr_channels *channels, const float *scale,
                      const uint8_t *zero, int bits) {
    const quantize_kernels *const kernels = tsr_quantize_active();
    const affine_grid grid = grid_of(bits, !zero, 0);
    float buffer[TILE], restored[TILE];
    uint8_t bytes[TILE];
    for (size_t at = 0; at < channels->n;) {
        const tile t = tile_at(channels, at);
        const size_t n = t.n_rows * t.n_row;
        const float *const x = tile_load(buffer, src, at, n, type, kernels), *const s = scale + t.channel;
        const uint8_t *const z = zero ? zero + t.channel : NULL;
        kernels->quantize_rows(bytes, x, t.n_rows, t.n_row, s, z, &grid);
        kernels->dequantize_rows(restored, bytes, t.n_rows, t.n_row, s, z, &grid);
        for (size_t r = 0; r < t.n_rows; r++)
            error[t.channel + r] += squared_error(x + r * t.n_row, restored + r * t.n_row, t.n_row);
        at += n;
    }
}
