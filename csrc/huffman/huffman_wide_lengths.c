/* Counts and optimal code lengths of wide alphabets. */
#include "huffman_wide_internal.h"

size_t tsr_code_histogram_workspace_size(void) { return 2 * 65536 * sizeof(uint32_t); }

/* Two tables, so that equal neighbours do not wait for each other's store. */
void tsr_code_histogram16(uint64_t counts[65536], const uint8_t *src, size_t n, void *workspace) {
    uint32_t *const even = workspace, *const odd = even + 65536;
    const size_t piece = (size_t)1 << 31; /* cannot overflow 32 bits */
    memset(counts, 0, 65536 * sizeof *counts);
    for (size_t start = 0; start < n; start += piece) {
        const size_t end = n - start < piece ? n : start + piece;
        size_t i = start;
        memset(even, 0, tsr_code_histogram_workspace_size());
        for (; i + 2 <= end; i += 2) {
            even[tsr_load16(src + 2 * i)]++;
            odd[tsr_load16(src + 2 * i + 2)]++;
        }
        if (i < end) even[tsr_load16(src + 2 * i)]++;
        for (int s = 0; s < 65536; s++) counts[s] += (uint64_t)even[s] + odd[s];
    }
}

/* ---- Huffman's tree ------------------------------------------------------------------------------ */

/* What is merged forms a second sorted queue, so that the two lightest are always at the front of one of the two
 * (van Leeuwen 1976). */
int tsr_tree_leaves(size_t leaves[TSR_TREE_DEPTH_MAX], const uint64_t *weights, size_t n, uint64_t *merged,
                    uint32_t *parents) {
    size_t symbol = 0, node = 0;
    for (size_t k = 0; k < n - 1; k++) {
        merged[k] = 0;
        for (int child = 0; child < 2; child++) {
            if (symbol < n && (node == k || weights[symbol] <= merged[node])) {
                merged[k] += weights[symbol++];
            } else {
                merged[k] += merged[node];
                parents[node++] = (uint32_t)k;
            }
        }
    }
    /* From the root down, each node's depth takes the place of its parent. Nodes at depth d have twice as
     * many children; those that are no nodes are leaves. */
    size_t nodes[TSR_TREE_DEPTH_MAX + 1] = {1};
    int deepest = 0;
    parents[n - 2] = 0;
    for (size_t k = n - 2; k-- > 0;) {
        parents[k] = parents[parents[k]] + 1;
        deepest = (int)parents[k];
        nodes[parents[k]]++;
    }
    memset(leaves, 0, TSR_TREE_DEPTH_MAX * sizeof *leaves);
    for (int d = 0; d <= deepest; d++) leaves[d + 1] = 2 * nodes[d] - nodes[d + 1];
    return deepest + 1;
}

/* ---- Package-merge --------------------------------------------------------------------------------- */

static size_t flag_bytes(size_t n) { return (2 * n + 63) / 64 * 8; }

/*
 * As tsr_huffman_code_lengths() does for bytes, where it is told. Here a list may have 2^25 items, so all that
 * is kept of each level is one bit an item: whether it is a symbol. The way back counts those among the first k.
 * `leaves` must have a place after the last weight for a sentinel.
 */
static void package_merge(uint8_t *lengths, uint64_t *leaves, size_t n, int max_length, uint64_t *packages,
                          uint64_t *next, uint8_t *flags) {
    size_t n_packages = 0;
    leaves[n] = UINT64_MAX;
    for (int level = 0; level < max_length; level++) {
        uint8_t *const level_flags = flags + (size_t)level * flag_bytes(n);
        const size_t n_list = n + n_packages;
        size_t i = 0, j = 0;
        uint64_t word = 0;
        packages[n_packages] = UINT64_MAX;
        for (size_t k = 0; k < n_list; k++) {
            const int is_symbol = leaves[i] <= packages[j];
            const uint64_t weight = is_symbol ? leaves[i] : packages[j];
            i += (size_t)is_symbol;
            j += (size_t)(1 - is_symbol);
            word = word >> 1 | (uint64_t)is_symbol << 63;
            if (k % 64 == 63) memcpy(level_flags + k / 64 * 8, &word, 8);
            next[k / 2] = k % 2 ? next[k / 2] + weight : weight;
        }
        if (n_list % 64) {
            word >>= 64 - n_list % 64;
            memcpy(level_flags + n_list / 64 * 8, &word, 8);
        }
        n_packages = n_list / 2;
        uint64_t *const t = packages;
        packages = next;
        next = t;
    }
    memset(lengths, 0, n);
    size_t k = 2 * n - 2;
    for (int level = max_length - 1; level >= 0 && k > 0; level--) {
        const uint8_t *const level_flags = flags + (size_t)level * flag_bytes(n);
        const uint8_t last = (uint8_t)(level_flags[k / 8] & ((1u << k % 8) - 1));
        const size_t n_symbols = tsr_count_ones(level_flags, k / 8) + tsr_count_ones(&last, 1);
        for (size_t r = 0; r < n_symbols; r++) lengths[r]++;
        k = 2 * (k - n_symbols);
    }
}

/* The three arrays of package-merge have room for the two of the tree. */
size_t tsr_code_lengths_workspace_size(size_t n, int max_length) {
    const size_t n_levels = max_length < TSR_TREE_DEPTH_MAX ? (size_t)max_length : TSR_TREE_DEPTH_MAX;
    return 3 * (n + 2) * sizeof(uint64_t) + n_levels * flag_bytes(n);
}

void tsr_code_lengths(uint8_t *lengths, const uint64_t *weights, size_t n, int max_length, void *workspace) {
    size_t leaves[TSR_TREE_DEPTH_MAX];
    uint64_t *const a = workspace, *const b = a + n + 2, *const c = b + n + 2;
    const int longest = tsr_tree_leaves(leaves, weights, n, a, (uint32_t *)b);
    if (longest > max_length) {
        memcpy(a, weights, n * sizeof *a);
        package_merge(lengths, a, n, max_length, b, c, (uint8_t *)(c + n + 2));
        return;
    }
    for (int l = longest; l > 0; l--) {
        memset(lengths, l, leaves[l]);
        lengths += leaves[l];
    }
}
