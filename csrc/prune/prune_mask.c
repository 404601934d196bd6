/* Masks made and applied: the active kernels over whole arrays, rows, and importances of another type. */
#include "prune_internal.h"

/* Elements whose mask is kept between two kernels: it stays in the first cache. */
#define TILE 4096

void tsr_prune_mask(uint8_t *mask, const uint8_t *src, size_t n, const tsr_prune_order *order, uint64_t threshold,
                    size_t *n_ties) {
    tsr_prune_active()->mask[width_index(order)](mask, src, n, order, threshold, n_ties);
}

void tsr_prune_mask_rows(uint8_t *mask, const uint8_t *src, size_t n_rows, size_t n, const tsr_prune_order *order,
                         const tsr_prune_rank *ranks, size_t n_pruned) {
    for (size_t r = 0; r < n_rows; r++) {
        size_t n_ties = ranks[r].n_less + ranks[r].n_equal - n_pruned;
        tsr_prune_mask(mask + r * n, src + r * n * order->width, n, order, ranks[r].key, &n_ties);
    }
}

size_t tsr_prune_apply(uint8_t *x, size_t n, const tsr_prune_order *order, uint64_t threshold, size_t *n_ties) {
    return tsr_prune_active()->apply[width_index(order)](x, n, order, threshold, n_ties);
}

size_t tsr_prune_apply_mask(uint8_t *x, int width, const uint8_t *mask, size_t n) {
    const tsr_prune_order order = {.width = (uint8_t)width};
    return tsr_prune_active()->apply_mask[width_index(&order)](x, mask, n);
}

size_t tsr_prune_apply_scored(uint8_t *x, int width, const uint8_t *scores, size_t n, const tsr_prune_order *order,
                              uint64_t threshold, size_t *n_ties) {
    uint8_t mask[TILE];
    size_t n_zeroed = 0;
    for (size_t i = 0; i < n; i += TILE) {
        const size_t n_here = n - i < TILE ? n - i : TILE;
        tsr_prune_mask(mask, scores + i * order->width, n_here, order, threshold, n_ties);
        n_zeroed += tsr_prune_apply_mask(x + i * (size_t)width, width, mask, n_here);
    }
    return n_zeroed;
}

void tsr_prune_mask_nm(uint8_t *mask, const uint8_t *src, size_t n_groups, const tsr_prune_order *order, int n_kept,
                       int m) {
    tsr_prune_active()->mask_nm[width_index(order)](mask, src, n_groups, order, n_kept, m);
}

void tsr_prune_pack(uint8_t *bits, const uint8_t *mask, size_t n) { tsr_prune_active()->pack(bits, mask, n); }

void tsr_prune_unpack(uint8_t *mask, const uint8_t *bits, size_t n) { tsr_prune_active()->unpack(mask, bits, n); }
