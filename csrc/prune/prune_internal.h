/* Pruning: numbers as integer keys that sort as they do, and the kernels that compare keys. */
#ifndef TSR_PRUNE_INTERNAL_H
#define TSR_PRUNE_INTERNAL_H

#include "tersor.h"
#include "tsr_bits.h"

/* Numbers that a kernel takes at a time; a bit of a word stands for each. */
#define GROUP 64

/* Index of a width in the tables of kernels. */
TSR_INLINE int width_index(const tsr_prune_order *order) { return order->width == 8 ? 2 : order->width / 4; }

typedef struct prune_kernels {
    int path;
    void (*count[3])(tsr_prune_counts *counts, void *keys, size_t cap, const uint8_t *src, size_t n,
                     const tsr_prune_order *order, uint64_t lo, uint64_t hi);
    /* Bytes 1 for what is kept, 0 for the others. */
    void (*mask[3])(uint8_t *mask, const uint8_t *src, size_t n, const tsr_prune_order *order, uint64_t threshold,
                    size_t *n_ties);
    /* The others become zero; returns how many they are. */
    size_t (*apply[3])(uint8_t *x, size_t n, const tsr_prune_order *order, uint64_t threshold, size_t *n_ties);
    size_t (*apply_mask[3])(uint8_t *x, const uint8_t *mask, size_t n);
    void (*mask_nm[3])(uint8_t *mask, const uint8_t *src, size_t n_groups, const tsr_prune_order *order, int n_kept,
                       int m);
    void (*pack)(uint8_t *bits, const uint8_t *mask, size_t n);
    void (*unpack)(uint8_t *mask, const uint8_t *bits, size_t n);
} prune_kernels;

extern const prune_kernels tsr_prune_scalar;
#if TSR_X86
extern const prune_kernels tsr_prune_avx2;
extern const prune_kernels tsr_prune_avx512;
#elif TSR_ARM64
extern const prune_kernels tsr_prune_neon;
#endif

const prune_kernels *tsr_prune_active(void);

/* Magnitudes sort as their bits without the sign. By value, zero (of either sign) is in the middle of the range. */
#define DEFINE_KEY(T, W)                                                                                 \
    TSR_INLINE T load_##W(const uint8_t *src, size_t i) {                                                \
        T x;                                                                                             \
        memcpy(&x, src + i * sizeof x, sizeof x);                                                        \
        return x;                                                                                        \
    }                                                                                                    \
    TSR_INLINE T key_##W(T x, int by_value) {                                                            \
        const T sign = (T)((T)1 << (W - 1)), magnitude = (T)(x & (T)(sign - 1));                         \
        if (!by_value) return magnitude;                                                                 \
        return x & sign ? (T)(sign - magnitude) : (T)(sign + magnitude);                                 \
    }

DEFINE_KEY(uint16_t, 16)
DEFINE_KEY(uint32_t, 32)
DEFINE_KEY(uint64_t, 64)

#endif
