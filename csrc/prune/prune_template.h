/*
 * The pruning kernels, written once over groups of 64 numbers, and included by each instruction set's file with
 *     PRUNE_NAME    the table's name
 *     PRUNE_PATH    its tsr_cpu_path
 *     PRUNE_TARGET  the target attribute
 * after it has defined, each for a group (W is 16, 32, 64):
 *     at_least_W(src, t, by_value)   a bit for each number: whether its key is at least t
 *     zero_W(x, kept)                makes the numbers zero whose bit is not set
 *     nonzero(mask), spread(mask, kept)   64 bytes to bits, and bits to bytes of 0 and 1
 */
#include "prune_internal.h"

TSR_INLINE size_t count_word(uint64_t word) { return tsr_count_ones((const uint8_t *)&word, 8); }

/* The lowest n of the set bits. */
TSR_INLINE uint64_t lowest_bits(uint64_t word, size_t n) {
    uint64_t lowest = 0;
    for (; n > 0; n--) {
        lowest |= word & (0 - word);
        word &= word - 1;
    }
    return lowest;
}

/* Asks for the lines of a group that comes later: with the work between, processors fetch too little by themselves.
 * An address past the end is no access. */
TSR_INLINE void prefetch_later(const uint8_t *src, size_t group_size) {
    for (size_t line = 0; line < group_size; line += 64) TSR_PREFETCH((const void *)((uintptr_t)src + 2048 + line));
}

/* Bits of the numbers that exist in a group. */
TSR_INLINE uint64_t first_bits(size_t n) { return n < GROUP ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0; }

#define DEFINE_WIDTH(T, W)                                                                                    \
    /* At the end of the data a group is completed in a buffer. */                                            \
    TSR_INLINE const uint8_t *group_##W(const uint8_t *src, size_t i, size_t n, uint8_t *buffer) {            \
        prefetch_later(src + i * sizeof(T), GROUP * sizeof(T));                                               \
        if (n - i >= GROUP) return src + i * sizeof(T);                                                       \
        memset(buffer, 0, GROUP * sizeof(T));                                                                 \
        memcpy(buffer, src + i * sizeof(T), (n - i) * sizeof(T));                                             \
        return buffer;                                                                                        \
    }                                                                                                         \
    PRUNE_TARGET TSR_INLINE void count_any_##W(tsr_prune_counts *counts, T *keys, size_t cap,                 \
                                               const uint8_t *src, size_t n, T infinity, T lo, T hi,          \
                                               int by_value) {                                                \
        uint8_t buffer[GROUP * sizeof(T)];                                                                    \
        size_t n_below = 0, n_inside = 0;                                                                     \
        uint64_t nan = 0;                                                                                     \
        for (size_t i = 0; i < n; i += GROUP) {                                                               \
            const uint8_t *const group = group_##W(src, i, n, buffer);                                        \
            const uint64_t valid = first_bits(n - i), not_below = at_least_##W(group, lo, by_value);          \
            uint64_t inside = not_below & ~at_least_##W(group, (T)(hi + 1), by_value) & valid;                \
            nan |= at_least_##W(group, (T)(infinity + 1), 0) & valid;                                         \
            n_below += count_word(~not_below & valid);                                                        \
            const size_t n_more = count_word(inside);                                                         \
            if (n_inside + n_more <= cap)                                                                     \
                for (size_t k = n_inside; inside; inside &= inside - 1)                                       \
                    keys[k++] = key_##W(load_##W(group, tsr_lowest_bit(inside)), by_value);                   \
            n_inside += n_more;                                                                               \
        }                                                                                                     \
        counts->n_below = n_below;                                                                            \
        counts->n_inside = n_inside;                                                                          \
        counts->has_nan = nan != 0;                                                                           \
    }                                                                                                         \
    PRUNE_TARGET static void count_##W(tsr_prune_counts *counts, void *keys, size_t cap, const uint8_t *src,  \
                                       size_t n, const tsr_prune_order *order, uint64_t lo, uint64_t hi) {    \
        const T infinity = (T)order->infinity;                                                                \
        if (order->by_value) count_any_##W(counts, keys, cap, src, n, infinity, (T)lo, (T)hi, 1);             \
        else count_any_##W(counts, keys, cap, src, n, infinity, (T)lo, (T)hi, 0);                             \
    }                                                                                                         \
    /* Which of a group to keep: above the threshold, and at it the first *n_ties. */                         \
    PRUNE_TARGET TSR_INLINE uint64_t keep_##W(const uint8_t *group, uint64_t valid, T threshold, int by_value, \
                                              size_t *n_ties) {                                               \
        uint64_t above = at_least_##W(group, (T)(threshold + 1), by_value) & valid;                           \
        const uint64_t ties = at_least_##W(group, threshold, by_value) & ~above & valid;                      \
        if (TSR_UNLIKELY(ties)) {                                                                             \
            const size_t n = count_word(ties);                                                                \
            above |= n <= *n_ties ? ties : lowest_bits(ties, *n_ties);                                        \
            *n_ties -= n <= *n_ties ? n : *n_ties;                                                            \
        }                                                                                                     \
        return above;                                                                                         \
    }                                                                                                         \
    PRUNE_TARGET TSR_INLINE void mask_any_##W(uint8_t *mask, const uint8_t *src, size_t n, T threshold,       \
                                              size_t *n_ties, int by_value) {                                 \
        uint8_t buffer[GROUP * sizeof(T)], bytes[GROUP];                                                      \
        for (size_t i = 0; i < n; i += GROUP) {                                                               \
            const uint8_t *const group = group_##W(src, i, n, buffer);                                        \
            const uint64_t kept = keep_##W(group, first_bits(n - i), threshold, by_value, n_ties);            \
            spread(n - i < GROUP ? bytes : mask + i, kept);                                                   \
        }                                                                                                     \
        memcpy(mask + n - n % GROUP, bytes, n % GROUP);                                                       \
    }                                                                                                         \
    PRUNE_TARGET static void mask_##W(uint8_t *mask, const uint8_t *src, size_t n,                            \
                                      const tsr_prune_order *order, uint64_t threshold, size_t *n_ties) {     \
        if (order->by_value) mask_any_##W(mask, src, n, (T)threshold, n_ties, 1);                             \
        else mask_any_##W(mask, src, n, (T)threshold, n_ties, 0);                                             \
    }                                                                                                         \
    PRUNE_TARGET TSR_INLINE size_t apply_any_##W(uint8_t *x, size_t n, T threshold, size_t *n_ties,           \
                                                 int by_value) {                                              \
        uint8_t buffer[GROUP * sizeof(T)];                                                                    \
        size_t n_kept = 0;                                                                                    \
        for (size_t i = 0; i < n; i += GROUP) {                                                               \
            uint8_t *const group = n - i < GROUP ? buffer : x + i * sizeof(T);                                \
            group_##W(x, i, n, buffer);                                                                       \
            const uint64_t kept = keep_##W(group, first_bits(n - i), threshold, by_value, n_ties);            \
            zero_##W(group, kept);                                                                            \
            n_kept += count_word(kept);                                                                       \
        }                                                                                                     \
        memcpy(x + (n - n % GROUP) * sizeof(T), buffer, n % GROUP * sizeof(T));                               \
        return n - n_kept;                                                                                    \
    }                                                                                                         \
    PRUNE_TARGET static size_t apply_##W(uint8_t *x, size_t n, const tsr_prune_order *order,                  \
                                         uint64_t threshold, size_t *n_ties) {                                \
        if (order->by_value) return apply_any_##W(x, n, (T)threshold, n_ties, 1);                             \
        return apply_any_##W(x, n, (T)threshold, n_ties, 0);                                                  \
    }                                                                                                         \
    PRUNE_TARGET static size_t apply_mask_##W(uint8_t *x, const uint8_t *mask, size_t n) {                    \
        size_t i = 0, n_kept = 0;                                                                             \
        for (; i + GROUP <= n; i += GROUP) {                                                                  \
            prefetch_later(x + i * sizeof(T), GROUP * sizeof(T));                                             \
            const uint64_t kept = nonzero(mask + i);                                                          \
            zero_##W(x + i * sizeof(T), kept);                                                                \
            n_kept += count_word(kept);                                                                       \
        }                                                                                                     \
        for (; i < n; i++) {                                                                                  \
            if (!mask[i]) memset(x + i * sizeof(T), 0, sizeof(T));                                            \
            n_kept += mask[i] != 0;                                                                           \
        }                                                                                                     \
        return n - n_kept;                                                                                    \
    }                                                                                                         \
    /* Groups side by side, so that a vector holds the same place of many. An element's rank is the number    \
     * of those that beat it: larger ones, and equal ones before it. */                                       \
    PRUNE_TARGET TSR_INLINE void mask_nm_any_##W(uint8_t *mask, const uint8_t *src, size_t n_groups,          \
                                                 int n_kept, int m, int by_value) {                           \
        T keys[TSR_PRUNE_M_MAX][GROUP], ranks[TSR_PRUNE_M_MAX][GROUP];                                        \
        for (size_t start = 0; start < n_groups; start += GROUP) {                                            \
            const size_t end = n_groups - start < GROUP ? n_groups - start : GROUP;                           \
            const uint8_t *const in = src + start * (size_t)m * sizeof(T);                                    \
            uint8_t *const out = mask + start * (size_t)m;                                                    \
            if (end < GROUP) memset(keys, 0, sizeof keys);                                                    \
            for (size_t g = 0; g < end; g++)                                                                  \
                for (int i = 0; i < m; i++)                                                                   \
                    keys[i][g] = key_##W(load_##W(in, g * (size_t)m + (size_t)i), by_value);                  \
            for (int i = 0; i < m; i++) {                                                                     \
                for (size_t g = 0; g < GROUP; g++) ranks[i][g] = 0;                                           \
                for (int j = 0; j < i; j++)                                                                   \
                    for (size_t g = 0; g < GROUP; g++) {                                                      \
                        const T before_wins = keys[j][g] >= keys[i][g];                                       \
                        ranks[i][g] = (T)(ranks[i][g] + before_wins);                                         \
                        ranks[j][g] = (T)(ranks[j][g] + 1 - before_wins);                                     \
                    }                                                                                         \
            }                                                                                                 \
            for (size_t g = 0; g < end; g++)                                                                  \
                for (int i = 0; i < m; i++) out[g * (size_t)m + (size_t)i] = ranks[i][g] < (T)n_kept;         \
        }                                                                                                     \
    }                                                                                                         \
    PRUNE_TARGET static void mask_nm_##W(uint8_t *mask, const uint8_t *src, size_t n_groups,                  \
                                         const tsr_prune_order *order, int n_kept, int m) {                   \
        /* A constant lets the compiler unroll the groups of four. */                                         \
        if (order->by_value) mask_nm_any_##W(mask, src, n_groups, n_kept, m, 1);                              \
        else if (m == 4) mask_nm_any_##W(mask, src, n_groups, n_kept, 4, 0);                                  \
        else mask_nm_any_##W(mask, src, n_groups, n_kept, m, 0);                                              \
    }

DEFINE_WIDTH(uint16_t, 16)
DEFINE_WIDTH(uint32_t, 32)
DEFINE_WIDTH(uint64_t, 64)

PRUNE_TARGET static void pack(uint8_t *bits, const uint8_t *mask, size_t n) {
    uint8_t buffer[GROUP];
    for (size_t i = 0; i < n; i += GROUP) {
        const size_t n_here = n - i < GROUP ? n - i : GROUP;
        if (n_here < GROUP) memcpy(memset(buffer, 0, GROUP), mask + i, n_here);
        const uint64_t word = nonzero(n_here < GROUP ? buffer : mask + i);
        memcpy(bits + i / 8, &word, (n_here + 7) / 8);
    }
}

PRUNE_TARGET static void unpack(uint8_t *mask, const uint8_t *bits, size_t n) {
    uint8_t buffer[GROUP];
    for (size_t i = 0; i < n; i += GROUP) {
        const size_t n_here = n - i < GROUP ? n - i : GROUP;
        uint64_t word = 0;
        memcpy(&word, bits + i / 8, (n_here + 7) / 8);
        spread(n_here < GROUP ? buffer : mask + i, word);
        if (n_here < GROUP) memcpy(mask + i, buffer, n_here);
    }
}

const prune_kernels PRUNE_NAME = {
    PRUNE_PATH,
    {count_16, count_32, count_64},
    {mask_16, mask_32, mask_64},
    {apply_16, apply_32, apply_64},
    {apply_mask_16, apply_mask_32, apply_mask_64},
    {mask_nm_16, mask_nm_32, mask_nm_64},
    pack,
    unpack,
};
