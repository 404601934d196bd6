/*
 * The loops of every path. Included with LINEAR_NAME, LINEAR_PATH, LINEAR_TARGET and these, for LINEAR_STEP
 * elements at a time:
 *   words, ints, floats          32 int16, 16 int32, 16 float
 *   load_words(src)              activations
 *   load_bytes(src, is_signed)   weights of 8 bits
 *   load_nibbles(src, is_signed) weights of 4 bits, the first in the low half of a byte
 *   less(words, z)               each less z
 *   no_ints(), no_floats()       zeros
 *   dot(ints, words, words)      adds the products of elements 2 l and 2 l + 1 to lane l
 *   add_scaled(floats, ints, f)  adds f times each; product and sum are rounded one by one
 *   store_floats(dst, floats)
 */

LINEAR_TARGET TSR_INLINE words load_weights(const uint8_t *src, int bits, int is_signed) {
    return bits == 8 ? load_bytes(src, is_signed) : load_nibbles(src, is_signed);
}

TSR_INLINE float sum_of_lanes(float lanes[LINEAR_LANES]) {
    for (int n = LINEAR_LANES / 2; n; n /= 2)
        for (int l = 0; l < n; l++) lanes[l] += lanes[l + n];
    return lanes[0];
}

/* n_out features from `row` on, for n_rows of activations from `at` on: 8 sums at the most, so that they stay in
 * registers, and 4 at the least where there are so many, so that they need not wait for each other. */
LINEAR_TARGET TSR_INLINE void multiply_tile(float *dst, const tsr_linear *w, const linear_input *x, size_t at,
                                            size_t row, const int n_rows, const int n_out, const int bits,
                                            const int is_signed) {
    const size_t n_row_bytes = (w->n_in * (size_t)bits + 7) / 8,
                 n_groups = (x->n_blocks + x->blocks_per_group - 1) / x->blocks_per_group;
    const uint8_t *const src = w->values + row * n_row_bytes;
    const int16_t *const in = x->values + at * x->n_padded;
    const float *const scale = x->scale + at * x->n_blocks;
    size_t group = row * n_groups, n_left = x->blocks_per_group;
    floats sum[8];

    TSR_UNROLL
    for (int s = 0; s < n_rows * n_out; s++) sum[s] = no_floats();
    for (size_t k = 0; k < x->n_blocks; k++) {
        const size_t start = k * x->block;
        const size_t end = w->n_in - start < x->block ? w->n_in : start + x->block;
        ints part[8];
        TSR_UNROLL
        for (int s = 0; s < n_rows * n_out; s++) part[s] = no_ints();
        for (size_t i = start; i < end; i += LINEAR_STEP) {
            words weights[8];
            TSR_UNROLL
            for (int o = 0; o < n_out; o++) {
                const uint8_t *from = src + (size_t)o * n_row_bytes + i * (size_t)bits / 8;
                uint8_t rest[LINEAR_STEP] = {0};
                if (TSR_UNLIKELY(end - i < LINEAR_STEP)) {
                    memcpy(rest, from, ((end - i) * (size_t)bits + 7) / 8);
                    from = rest;
                }
                weights[o] = load_weights(from, bits, is_signed);
                if (!is_signed) weights[o] = less(weights[o], w->zero_point[group + (size_t)o * n_groups]);
            }
            TSR_UNROLL
            for (int r = 0; r < n_rows; r++) {
                const words activations = load_words(in + (size_t)r * x->n_padded + i);
                TSR_UNROLL
                for (int o = 0; o < n_out; o++)
                    part[r * n_out + o] = dot(part[r * n_out + o], weights[o], activations);
            }
        }
        TSR_UNROLL
        for (int r = 0; r < n_rows; r++)
            TSR_UNROLL
            for (int o = 0; o < n_out; o++)
                sum[r * n_out + o] =
                    add_scaled(sum[r * n_out + o], part[r * n_out + o],
                               scale[(size_t)r * x->n_blocks + k] * w->scale[group + (size_t)o * n_groups]);
        if (--n_left == 0) {
            group++;
            n_left = x->blocks_per_group;
        }
    }
    TSR_UNROLL
    for (int r = 0; r < n_rows; r++)
        TSR_UNROLL
        for (int o = 0; o < n_out; o++) {
            float lanes[LINEAR_LANES];
            store_floats(lanes, sum[r * n_out + o]);
            dst[(at + (size_t)r) * w->n_out + row + (size_t)o] = sum_of_lanes(lanes);
        }
}

LINEAR_TARGET TSR_INLINE void multiply_as(float *dst, const tsr_linear *w, const linear_input *x, size_t n_rows,
                                          size_t first, size_t last, const int bits, const int is_signed) {
    while (first < last) {
        const size_t n_out = last - first >= 4 ? 4 : 1;
        size_t at = 0;
        for (; at + 4 <= n_rows; at += 4) {
            if (n_out == 4) {
                multiply_tile(dst, w, x, at, first, 4, 2, bits, is_signed);
                multiply_tile(dst, w, x, at, first + 2, 4, 2, bits, is_signed);
            } else {
                multiply_tile(dst, w, x, at, first, 4, 1, bits, is_signed);
            }
        }
        for (; at < n_rows; at++) {
            if (n_out == 4)
                multiply_tile(dst, w, x, at, first, 1, 4, bits, is_signed);
            else
                multiply_tile(dst, w, x, at, first, 1, 1, bits, is_signed);
        }
        first += n_out;
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
