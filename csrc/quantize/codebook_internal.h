/* Codebooks: the nearest of up to 256 values for each element, and the way back. */
#ifndef TSR_CODEBOOK_INTERNAL_H
#define TSR_CODEBOOK_INTERNAL_H

#include "quantize_internal.h"
#include "tsr_bits.h"

/* So many levels fill a register, and their indices come two a byte. */
#define SMALL_LEVELS 16

#define ERROR_LANES 16

/*
 * The thresholds between levels form a tree in heap order: tree[1] is its root, and 2 i and 2 i + 1 follow i. A
 * tree of depth d has 2^d - 1 of them; 4 <= d <= 8. The way down goes right where an element is not at or
 * below a threshold, so that NaN ends at the last level.
 */
typedef struct codebook_kernels {
    int path;
    /* indices[i] is the leaf that x[i] / divisor comes to, but at most `last`. */
    void (*assign)(uint8_t *indices, const float *x, size_t n, const float *tree, int depth, unsigned last,
                   float divisor);
    /* dst[i] = table[indices[i]], elements of `width` bytes, 2 or 4. The table has 256 elements; `small`: no index is
     * above 15. */
    void (*look_up)(void *dst, const uint8_t *indices, size_t n, const void *table, int width, int small);
    /* Adds (x[i] - y[i])^2 to lane i % ERROR_LANES where x[i] is finite: sums in lanes come out the same however wide
     * registers are. The square of a float is exact as a double. */
    void (*add_squares)(double lanes[ERROR_LANES], const float *x, const float *y, size_t n);
} codebook_kernels;

extern const codebook_kernels tsr_codebook_scalar;
#if TSR_X86
extern const codebook_kernels tsr_codebook_avx2;
extern const codebook_kernels tsr_codebook_avx512;
#elif TSR_ARM64
extern const codebook_kernels tsr_codebook_neon;
#endif

/* Plain loops that vector kernels fall back to, for the end of a run too. */
void tsr_codebook_assign_scalar(uint8_t *indices, const float *x, size_t n, const float *tree, int depth,
                                unsigned last, float divisor);
void tsr_codebook_look_up_scalar(void *dst, const uint8_t *indices, size_t n, const void *table, int width,
                                 int small);
void tsr_codebook_add_squares_scalar(double lanes[ERROR_LANES], const float *x, const float *y, size_t n);

#endif
