/* Codebooks: the nearest of up to 256 values for each element, and the way back. */
#ifndef TSR_CODEBOOK_INTERNAL_H
#define TSR_CODEBOOK_INTERNAL_H

#include "tersor.h"
#include "tsr_bits.h"
#include "tsr_float.h"

/* Elements that pass through all steps while they are in a first-level cache. */
#define CHUNK ((size_t)2048)

/* So many levels fill a register, and their indices come two a byte. */
#define SMALL_LEVELS 16

/*
 * The thresholds between levels form a tree in heap order: tree[1] is its root, and 2 i and 2 i + 1 follow i. A
 * tree of depth d has 2^d - 1 of them; 4 <= d <= 8. The way down goes right where an element is not at or
 * below a threshold, so that NaN ends at the last level.
 */
typedef struct codebook_kernels {
    int path;
    /* 16-bit floats to float32. */
    void (*widen)(float *dst, const uint16_t *src, size_t n, int type);
    /* indices[i] is the leaf that x[i] / divisor comes to, but at most `last`. A divisor of 1 costs nothing. */
    void (*assign)(uint8_t *indices, const float *x, size_t n, const float *tree, int depth, unsigned last,
                   float divisor);
    /* dst[i] = table[indices[i]], elements of `width` bytes, 2 or 4. The table has 256 elements; `small`: no index is
     * above 15. */
    void (*look_up)(void *dst, const uint8_t *indices, size_t n, const void *table, int width, int small);
} codebook_kernels;

extern const codebook_kernels tsr_codebook_scalar;
#if TSR_X86
extern const codebook_kernels tsr_codebook_avx2;
extern const codebook_kernels tsr_codebook_avx512;
#elif TSR_ARM64
extern const codebook_kernels tsr_codebook_neon;
#endif

/* Plain loops that vector kernels fall back to, for the end of a run too. */
void tsr_codebook_widen_scalar(float *dst, const uint16_t *src, size_t n, int type);
void tsr_codebook_assign_scalar(uint8_t *indices, const float *x, size_t n, const float *tree, int depth,
                                unsigned last, float divisor);
void tsr_codebook_look_up_scalar(void *dst, const uint8_t *indices, size_t n, const void *table, int width,
                                 int small);

/* One element's way down, for either type of float. */
#define CODEBOOK_DESCEND(node, x, tree, depth) \
    for (int level_ = 0; level_ < (depth); level_++) (node) = 2 * (node) + !((x) <= (tree)[node])

#endif
