/* Products with matrices of small integers, straight from the integers. */
#ifndef TSR_LINEAR_INTERNAL_H
#define TSR_LINEAR_INTERNAL_H

#include "tersor.h"
#include "tsr_compiler.h"

/* Elements that a step of the kernels takes, and the lanes that it adds pairs of them to: element i goes to lane
 * i % LINEAR_STEP / 2 on every path, so that all of them round alike. */
#define LINEAR_STEP 32
#define LINEAR_LANES 16
/* Most elements that share a factor of the activations. The sums of integers stay below 2^28. */
#define LINEAR_BLOCK_MAX 256
/* Weights that are used again and again while they are in a cache. */
#define LINEAR_PANEL (32 << 10)

/* Activations as 16-bit integers with a factor for each block, zero after the last. */
typedef struct linear_input {
    const int16_t *values; /* n_rows of n_padded */
    const float *scale;    /* n_rows of n_blocks */
    size_t n_padded, n_blocks, block, n_groups, blocks_per_group;
} linear_input;

typedef struct linear_kernels {
    int path;
    /* Output features [first, last) for n_rows of activations. */
    void (*multiply)(float *dst, const tsr_linear *w, const linear_input *x, size_t n_rows, size_t first, size_t last);
} linear_kernels;

extern const linear_kernels tsr_linear_scalar;
#if TSR_X86
extern const linear_kernels tsr_linear_avx2;
extern const linear_kernels tsr_linear_avx512;
#elif TSR_ARM64
extern const linear_kernels tsr_linear_neon;
#endif

#endif
