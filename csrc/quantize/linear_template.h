/*
 * The loops of every path. Included with LINEAR_NAME, LINEAR_PATH, LINEAR_TARGET and these, for LINEAR_STEP
 * elements at a time:
 *   words, ints, floats          32 int16, 16 int32, 16 float
 *   load_words(src)              activations
 *   load_bytes(src, is_signed)   weights of 8 bits
 *   load_nibbles(src, is_signed) weights of 4 bits, the first in the low half of a byte
 *   all_words(z), less(words, words)
 *   no_ints(), no_floats()       zeros
 *   dot(ints, words, words)      adds the products of elements 2 l and 2 l + 1 to lane l
 *   add_scaled(floats, ints, f)  adds f times each; product and sum are rounded one by one
 *   store_floats(dst, floats)
 * and LINEAR_INLINE and LINEAR_UNROLL, if vectors cannot be kept in registers anyway.
 */
#ifndef LINEAR_INLINE
#define LINEAR_INLINE TSR_INLINE
#define LINEAR_UNROLL TSR_UNROLL
#endif

LINEAR_TARGET TSR_INLINE words load_weights(const uint8_t *src, int bits, int is_signed) {
    return bits == 8 ? load_bytes(src, is_signed) : load_nibbles(src, is_signed);
}

TSR_INLINE float sum_of_lanes(float lanes[LINEAR_LANES]) {
    for (int n = LINEAR_LANES / 2; n; n /= 2)
        for (int l = 0; l < n; l++) lanes[l] += lanes[l + n];
    return lanes[0];
}

/* One step: its weights, less the zero points of their groups, times the activations from `in` on. */
LINEAR_TARGET LINEAR_INLINE void add_step(ints *part, const uint8_t *const *src, const words *zero, const int16_t *in,
                                       size_t n_padded, const int n_rows, const int n_out, const int bits,
                                       const int is_signed) {
    words weights[4];
    LINEAR_UNROLL
    for (int o = 0; o < n_out; o++) {
        weights[o] = load_weights(src[o], bits, is_signed);
        if (!is_signed) weights[o] = less(weights[o], zero[o]);
    }
    LINEAR_UNROLL
    for (int r = 0; r < n_rows; r++) {
        const words activations = load_words(in + (size_t)r * n_padded);
        LINEAR_UNROLL
        for (int o = 0; o < n_out; o++)
            part[r * n_out + o] = dot(part[r * n_out + o], weights[o], activations);
    }
}

/* n_out features from `row` on, for n_rows of activations from `at` on: 8 sums at the most, so that they stay in
 * registers, and 4 at the least where there are so many, so that they need not wait for each other. */
LINEAR_TARGET LINEAR_INLINE void multiply_tile(float *dst, const tsr_linear *w, const linear_input *x, size_t at,
                                            size_t row, const int n_rows, const int n_out, const int bits,
                                            const int is_signed) {
    const size_t n_row_bytes = (w->n_in * (size_t)bits + 7) / 8, step = LINEAR_STEP * (size_t)bits / 8;
    const size_t n_groups = x->n_groups, n_blocks = x->n_blocks, n_padded = x->n_padded;
    const int16_t *in = x->values + at * n_padded;
    const float *factor = x->scale + at * n_blocks;
    const float *scale = w->scale + row * n_groups;
    const uint8_t *zero_point = is_signed ? NULL : w->zero_point + row * n_groups;
    size_t n_left = x->blocks_per_group;
    const uint8_t *src[4];
    words zero[4];
    floats sum[8];

    LINEAR_UNROLL
    for (int o = 0; o < n_out; o++) src[o] = w->values + (row + (size_t)o) * n_row_bytes;
    LINEAR_UNROLL
    for (int s = 0; s < n_rows * n_out; s++) sum[s] = no_floats();
    for (size_t k = 0; k < n_blocks; k++) {
        const size_t n = k + 1 < n_blocks ? x->block : w->n_in - k * x->block;
        ints part[8];
        LINEAR_UNROLL
        for (int s = 0; s < n_rows * n_out; s++) part[s] = no_ints();
        if (!is_signed) {
            LINEAR_UNROLL
            for (int o = 0; o < n_out; o++) zero[o] = all_words(zero_point[(size_t)o * n_groups]);
        }
        for (size_t i = n / LINEAR_STEP; i; i--) {
            add_step(part, src, zero, in, n_padded, n_rows, n_out, bits, is_signed);
            in += LINEAR_STEP;
            LINEAR_UNROLL
            for (int o = 0; o < n_out; o++) src[o] += step;
        }
        if (TSR_UNLIKELY(n % LINEAR_STEP)) {
            uint8_t rest[4][LINEAR_STEP] = {{0}};
            LINEAR_UNROLL
            for (int o = 0; o < n_out; o++) {
                memcpy(rest[o], src[o], (n % LINEAR_STEP * (size_t)bits + 7) / 8);
                src[o] = rest[o];
            }
            add_step(part, src, zero, in, n_padded, n_rows, n_out, bits, is_signed);
        }
        LINEAR_UNROLL
        for (int r = 0; r < n_rows; r++)
            LINEAR_UNROLL
            for (int o = 0; o < n_out; o++)
                sum[r * n_out + o] = add_scaled(sum[r * n_out + o], part[r * n_out + o],
                                                factor[(size_t)r * n_blocks] * scale[(size_t)o * n_groups]);
        factor++;
        if (--n_left == 0) {
            n_left = x->blocks_per_group;
            scale++;
            if (!is_signed) zero_point++;
        }
    }
    LINEAR_UNROLL
    for (int r = 0; r < n_rows; r++)
        LINEAR_UNROLL
        for (int o = 0; o < n_out; o++) {
            float lanes[LINEAR_LANES];
            store_floats(lanes, sum[r * n_out + o]);
            dst[(at + (size_t)r) * w->n_out + row + (size_t)o] = sum_of_lanes(lanes);
        }
}

LINEAR_TARGET TSR_INLINE void multiply_as(float *dst, const tsr_linear *w, const linear_input *x, size_t n_rows,
                                          size_t first, size_t last, const int bits, const int is_signed) {
    /* Features whose weights stay in the second-level cache while the activations pass, four rows at a time. */
    const size_t n_panel = (LINEAR_PANEL / w->n_in + 1) * 4;
    for (size_t end; first < last; first = end) {
        size_t at = 0;
        end = last - first < n_panel ? last : first + n_panel;
        for (; at + 4 <= n_rows; at += 4) {
            size_t row = first;
            for (; row + 2 <= end; row += 2) multiply_tile(dst, w, x, at, row, 4, 2, bits, is_signed);
            if (row < end) multiply_tile(dst, w, x, at, row, 4, 1, bits, is_signed);
        }
        for (; at < n_rows; at++) {
            size_t row = first;
            for (; row + 4 <= end; row += 4) multiply_tile(dst, w, x, at, row, 1, 4, bits, is_signed);
            for (; row < end; row++) multiply_tile(dst, w, x, at, row, 1, 1, bits, is_signed);
        }
    }
}

LINEAR_TARGET static void multiply(float *dst, const tsr_linear *w, const linear_input *x, size_t n_rows,
                                   size_t first, size_t last) {
    if (w->bits == 8 && w->zero_point)
        multiply_as(dst, w, x, n_rows, first, last, 8, 0);
    else if (w->bits == 8)
        multiply_as(dst, w, x, n_rows, first, last, 8, 1);
    else if (w->zero_point)
        multiply_as(dst, w, x, n_rows, first, last, 4, 0);
    else
        multiply_as(dst, w, x, n_rows, first, last, 4, 1);
}

const linear_kernels LINEAR_NAME = {LINEAR_PATH, multiply};

#undef LINEAR_NAME
#undef LINEAR_PATH
#undef LINEAR_TARGET
