/* The plain path. */
#include "codebook_internal.h"

TSR_INLINE void assign(uint8_t *indices, const float *x, size_t n, const float *tree, int depth, unsigned last,
                       float divisor) {
    for (size_t i = 0; i < n; i++) {
        const float scaled = x[i] / divisor;
        unsigned node = 1;
        for (int level = 0; level < depth; level++) node = 2 * node + !(scaled <= tree[node]);
        node -= 1u << depth;
        indices[i] = (uint8_t)(node < last ? node : last);
    }
}

void tsr_codebook_assign_scalar(uint8_t *indices, const float *x, size_t n, const float *tree, int depth,
                                unsigned last, float divisor) {
    /* Constant depths let the compiler unroll the way down. */
    if (depth == 4) assign(indices, x, n, tree, 4, last, divisor);
    else if (depth == 8) assign(indices, x, n, tree, 8, last, divisor);
    else assign(indices, x, n, tree, depth, last, divisor);
}

void tsr_codebook_look_up_scalar(void *dst, const uint8_t *indices, size_t n, const void *table, int width,
                                 int small) {
    (void)small;
    if (width == 2) {
        uint16_t *const d = dst;
        const uint16_t *const t = table;
        for (size_t i = 0; i < n; i++) d[i] = t[indices[i]];
    } else {
        uint32_t *const d = dst;
        const uint32_t *const t = table;
        for (size_t i = 0; i < n; i++) d[i] = t[indices[i]];
    }
}

void tsr_codebook_add_squares_scalar(double lanes[ERROR_LANES], const float *x, const float *y, size_t n) {
    for (size_t i = 0; i < n; i += ERROR_LANES)
        for (size_t k = 0; k < smaller(ERROR_LANES, n - i); k++) {
            const float difference = x[i + k] - y[i + k];
            const double d = is_finite(x[i + k]) ? difference : 0;
            lanes[k] += d * d;
        }
}

const codebook_kernels tsr_codebook_scalar = {TSR_CPU_SCALAR, tsr_codebook_assign_scalar,
                                              tsr_codebook_look_up_scalar, tsr_codebook_add_squares_scalar};
