/* Byte planes: elements split into them and joined, each plane coded in the mode that suits it. */
#ifndef TSR_PLANES_INTERNAL_H
#define TSR_PLANES_INTERNAL_H

#include "../huffman/huffman_internal.h"
#include "tersor.h"
#include "tsr_bits.h"

/* Bytes after a buffer that kernels may read or write in passing. */
#define TSR_PLANE_SLACK 64

/* Elements of sparse blocks: all bits zero; any other; and -0.0, which pruning by multiplication leaves behind. */
enum { ELEMENT_ZERO = 0, ELEMENT_KEPT = 1, ELEMENT_MINUS_ZERO = 2 };

typedef struct planes_kernels {
    int path;
    /* n elements of `typesize` bytes (2, 4, 8) into as many planes of n bytes. */
    void (*split)(uint8_t *const *planes, const uint8_t *src, size_t n, int typesize, int filter);
    void (*join)(uint8_t *dst, const uint8_t *const *planes, size_t n, int typesize, int filter);
    /* Sets bit i % 8 of flags[i / 8] to whether src[i] differs from `common`, bits past n to zero; the bytes that
     * differ go to `literals`, and their number is returned. TSR_PLANE_SLACK bytes after n literals and after the
     * flags may be overwritten. */
    size_t (*split_flags)(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n, uint8_t common);
    /* The way back. TSR_PLANE_SLACK bytes after the literals are readable. */
    void (*join_flags)(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals, uint8_t common);
    /* Sets positions[i] to what element i is, and collects those that are ELEMENT_KEPT; returns their number.
     * TSR_PLANE_SLACK bytes after n positions and elements may be overwritten. */
    size_t (*split_zeros)(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n, int typesize);
    /* The way back; no position is anything else. TSR_PLANE_SLACK bytes after the elements are readable. */
    void (*join_zeros)(uint8_t *dst, size_t n, const uint8_t *positions, const uint8_t *elements, int typesize);
} planes_kernels;

extern const planes_kernels tsr_planes_scalar;
#if TSR_X86
extern const planes_kernels tsr_planes_avx2;
extern const planes_kernels tsr_planes_avx512;
#elif TSR_ARM64
extern const planes_kernels tsr_planes_neon;
#endif

const planes_kernels *tsr_planes_active(void);

/* Plain loops that vector kernels fall back to, for the end of a plane too. */
size_t tsr_planes_split_flags_scalar(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n,
                                     uint8_t common);
void tsr_planes_join_flags_scalar(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals,
                                  uint8_t common);

size_t tsr_planes_split_zeros_scalar(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n,
                                     int typesize);
void tsr_planes_join_zeros_scalar(uint8_t *dst, size_t n, const uint8_t *positions, const uint8_t *elements,
                                  int typesize);

/* entropy.c: log2(c), c > 0, and the entropy of n < 65536 sampled bytes, in bits / 256. */
uint32_t tsr_log2_256(uint32_t c);
uint64_t tsr_entropy(const uint8_t *bytes, size_t n);

/* ---- plane.c --------------------------------------------------------------------------------------- */

/* Planes within planes: modes 5 and 6 hold others, down to this depth. */
#define TSR_PLANE_DEPTH_MAX 4
/* Workspace for a plane of n bytes: each depth may hold n / 8 flags, and n literals or gaps and literals. */
#define TSR_PLANE_SCRATCH(n) (TSR_PLANE_DEPTH_MAX * ((n) + (n) / 8 + 2 * TSR_PLANE_SLACK + 1) + 8 * TSR_PLANE_SLACK)
/* LZW planes lie within no others and have all of it for themselves. */
size_t tsr_plane_scratch_size(size_t n);

/* Codes one plane into dst, which has TSR_PLANE_ROOM(n) bytes; returns the size (<= n). */
#define TSR_PLANE_ROOM(n) TSR_HUFFMAN_ROOM(n)
size_t tsr_plane_encode(uint8_t *dst, const uint8_t *src, size_t n, int codec, int depth, uint8_t *scratch,
                        uint8_t *mode);
tsr_result tsr_plane_decode(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int mode, int depth,
                            uint8_t *scratch);
/* Whether a plane of n bytes can have data of this size at all: no claim of content beyond it gets as far
 * as the allocation of an output. */
tsr_result tsr_plane_check(int mode, size_t size, size_t n);

#endif
