/* The key of a given rank, by narrowing: histograms of the highest bits that are still open. */
#include "prune_internal.h"

/* Consecutive numbers in a sample: a cache line or two. */
#define SAMPLE_RUN 16

/* Bits of a histogram. Few keys are not worth clearing many bins. */
#define FEW_KEYS 2048
#define FEW_BITS 8

static unsigned bit_length(uint64_t x) {
    if (x == 0) return 0;
    return x >> 32 ? 33 + tsr_log2_floor((uint32_t)(x >> 32)) : 1 + tsr_log2_floor((uint32_t)x);
}

/* Keys of a range are first cut into bins of 2^shift. */
static unsigned bin_shift(uint64_t range, unsigned n_bits) {
    const unsigned length = bit_length(range);
    return length > n_bits ? length - n_bits : 0;
}

#define DEFINE_WIDTH(T, W)                                                                                 \
    static void keys_##W(T *keys, const uint8_t *src, size_t n, int by_value) {                            \
        for (size_t i = 0; i < n; i++) keys[i] = key_##W(load_##W(src, i), by_value);                      \
    }                                                                                                      \
    static void sample_##W(T *keys, size_t n_runs, const uint8_t *src, size_t n, int by_value) {           \
        for (size_t r = 0; r < n_runs; r++) {                                                              \
            const size_t start = n_runs < 2 ? 0 : (n - SAMPLE_RUN) / (n_runs - 1) * r;                     \
            keys_##W(keys + r * SAMPLE_RUN, src + start * sizeof(T), SAMPLE_RUN, by_value);                \
        }                                                                                                  \
    }                                                                                                      \
    static void histogram_##W(uint64_t *counts, const uint8_t *src, size_t n, int by_value, T lo, T hi,    \
                              unsigned shift) {                                                            \
        for (size_t i = 0; i < n; i++) {                                                                   \
            const T key = key_##W(load_##W(src, i), by_value);                                             \
            if (key >= lo && key <= hi) counts[(T)(key - lo) >> shift]++;                                  \
        }                                                                                                  \
    }                                                                                                      \
    static void select_##W(tsr_prune_rank *found, T *keys, size_t n, size_t rank) {                        \
        uint32_t counts[1 << TSR_PRUNE_BITS];                                                              \
        size_t n_less = 0;                                                                                 \
        for (;;) {                                                                                         \
            T lo = keys[0], hi = keys[0];                                                                  \
            for (size_t i = 0; i < n; i++) {                                                               \
                lo = keys[i] < lo ? keys[i] : lo;                                                          \
                hi = keys[i] > hi ? keys[i] : hi;                                                          \
            }                                                                                              \
            const unsigned n_bits = n < FEW_KEYS ? FEW_BITS : TSR_PRUNE_BITS;                              \
            const unsigned shift = bin_shift((T)(hi - lo), n_bits);                                        \
            memset(counts, 0, sizeof *counts << n_bits);                                                   \
            for (size_t i = 0; i < n; i++) counts[(T)(keys[i] - lo) >> shift]++;                           \
            T bin = 0;                                                                                     \
            for (; n_less + counts[bin] <= rank; bin++) n_less += counts[bin];                             \
            size_t n_left = 0;                                                                             \
            for (size_t i = 0; i < n; i++) {                                                               \
                const T key = keys[i];                                                                     \
                keys[n_left] = key;                                                                        \
                n_left += (T)(key - lo) >> shift == bin;                                                   \
            }                                                                                              \
            n = n_left;                                                                                    \
            if (shift > 0) continue;                                                                       \
            found->key = (T)(lo + bin);                                                                    \
            found->n_less = n_less;                                                                        \
            found->n_equal = n;                                                                            \
            return;                                                                                        \
        }                                                                                                  \
    }

DEFINE_WIDTH(uint16_t, 16)
DEFINE_WIDTH(uint32_t, 32)
DEFINE_WIDTH(uint64_t, 64)

void tsr_prune_sample(void *keys, size_t n_keys, const uint8_t *src, size_t n, const tsr_prune_order *order) {
    const size_t n_runs = n_keys / SAMPLE_RUN;
    if (order->width == 2) sample_16(keys, n_runs, src, n, order->by_value);
    else if (order->width == 4) sample_32(keys, n_runs, src, n, order->by_value);
    else sample_64(keys, n_runs, src, n, order->by_value);
}

void tsr_prune_count(tsr_prune_counts *counts, void *keys, size_t cap, const uint8_t *src, size_t n,
                     const tsr_prune_order *order, uint64_t lo, uint64_t hi) {
    tsr_prune_active()->count[width_index(order)](counts, keys, cap, src, n, order, lo, hi);
}

void tsr_prune_histogram(uint64_t counts[TSR_PRUNE_BINS], const uint8_t *src, size_t n, const tsr_prune_order *order,
                         uint64_t lo, uint64_t hi) {
    const unsigned shift = bin_shift(hi - lo, TSR_PRUNE_BITS);
    if (order->width == 2) histogram_16(counts, src, n, order->by_value, (uint16_t)lo, (uint16_t)hi, shift);
    else if (order->width == 4) histogram_32(counts, src, n, order->by_value, (uint32_t)lo, (uint32_t)hi, shift);
    else histogram_64(counts, src, n, order->by_value, lo, hi, shift);
}

void tsr_prune_select(tsr_prune_rank *found, void *keys, size_t n, int width, size_t rank) {
    if (width == 2) select_16(found, keys, n, rank);
    else if (width == 4) select_32(found, keys, n, rank);
    else select_64(found, keys, n, rank);
}

void tsr_prune_select_rows(tsr_prune_rank *found, const uint8_t *src, size_t n_rows, size_t n,
                           const tsr_prune_order *order, size_t rank, void *workspace) {
    const size_t row_size = n * order->width;
    for (size_t r = 0; r < n_rows; r++, src += row_size) {
        if (order->width == 2) keys_16(workspace, src, n, order->by_value);
        else if (order->width == 4) keys_32(workspace, src, n, order->by_value);
        else keys_64(workspace, src, n, order->by_value);
        tsr_prune_select(&found[r], workspace, n, order->width, rank);
    }
}
