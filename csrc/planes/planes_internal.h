/* Splitting elements into byte planes and joining them, with a filter on the way. */
#ifndef TSR_PLANES_INTERNAL_H
#define TSR_PLANES_INTERNAL_H

#include "tersor.h"
#include "tsr_bits.h"

typedef struct planes_kernels {
    int path;
    /* n elements of `typesize` bytes (2, 4, 8) into as many planes of n bytes. */
    void (*split)(uint8_t *const *planes, const uint8_t *src, size_t n, int typesize, int filter);
    void (*join)(uint8_t *dst, const uint8_t *const *planes, size_t n, int typesize, int filter);
} planes_kernels;

extern const planes_kernels tsr_planes_scalar;
#if TSR_X86
extern const planes_kernels tsr_planes_avx2;
extern const planes_kernels tsr_planes_avx512;
#endif

const planes_kernels *tsr_planes_active(void);

#endif
