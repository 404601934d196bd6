/* From counts to code lengths, from lengths to codes, and code tables in and out. */
#include "huffman_internal.h"

/* Symbols with a count, by (count, symbol). Returns how many. Stable radix sort on the count's three
 * bytes: symbols start in order. */
static int sort_symbols(uint32_t weights[256], uint8_t symbols[256], const uint32_t counts[256]) {
    uint32_t a[256], b[256]; /* count << 8 | symbol: counts are at most 2^20 */
    uint32_t *from = a, *to = b;
    uint32_t all = 0;
    int n = 0;
    for (uint32_t s = 0; s < 256; s++) {
        if (!counts[s]) continue;
        a[n++] = counts[s] << 8 | s;
        all |= counts[s];
    }
    for (int shift = 8; shift < 32 && all >> (shift - 8); shift += 8) {
        uint16_t start[257] = {0};
        for (int i = 0; i < n; i++) start[(from[i] >> shift & 255) + 1]++;
        for (int d = 0; d < 255; d++) start[d + 1] = (uint16_t)(start[d + 1] + start[d]);
        for (int i = 0; i < n; i++) to[start[from[i] >> shift & 255]++] = from[i];
        uint32_t *t = from;
        from = to;
        to = t;
    }
    for (int i = 0; i < n; i++) {
        weights[i] = from[i] >> 8;
        symbols[i] = (uint8_t)from[i];
    }
    return n;
}

/*
 * Package-merge (Larmore & Hirschberg 1990). Level l's list merges the symbols with the packages made
 * of neighbouring pairs of level l - 1; the code is read off the first 2n - 2 items of the last level.
 * All that the way back needs is how many of the first k items of a level are symbols, so that count
 * is kept instead of the items. Before the first weight and after the last there is a place for a sentinel.
 */
static void package_merge(uint8_t by_rank[256], uint32_t *weights, int n) {
    uint32_t packages_room[258], list[512];
    uint32_t *const packages = packages_room + 1;
    uint16_t n_symbols_before[MAX_LENGTH][513]; /* among the first k items */

    weights[-1] = packages[-1] = 0;
    weights[n] = UINT32_MAX;
    int n_packages = 0;
    for (int level = 0; level < MAX_LENGTH; level++) {
        const int n_list = n + n_packages;
        uint16_t *const before = n_symbols_before[level];
        int i = 0, j = 0, u = n - 1, v = n_packages - 1;
        packages[n_packages] = UINT32_MAX;
        /* From both ends at once: each end waits for its own comparisons only. On equal weight the
         * symbol comes first. The middle item of an odd list is written twice, alike. */
        for (int k = 0, l = n_list - 1; k <= l; k++, l--) {
            const int low = weights[i] <= packages[j], high = weights[u] > packages[v];
            before[k] = (uint16_t)i;
            before[l + 1] = (uint16_t)(u + 1);
            list[k] = low ? weights[i] : packages[j];
            list[l] = high ? weights[u] : packages[v];
            i += low;
            j += 1 - low;
            u -= high;
            v -= 1 - high;
        }
        if (n_list % 2 == 0) before[n_list / 2] = (uint16_t)i;
        n_packages = n_list / 2;
        for (int k = 0; k < n_packages; k++) packages[k] = list[2 * k] + list[2 * k + 1];
    }

    memset(by_rank, 0, 256);
    int k = 2 * n - 2;
    for (int level = MAX_LENGTH - 1; level >= 0 && k > 0; level--) {
        const int n_symbols = n_symbols_before[level][k];
        for (int r = 0; r < n_symbols; r++) by_rank[r]++;
        k = 2 * (k - n_symbols);
    }
}

/* Huffman's tree where that is within the limit. Package-merge arrives at the same code then, in ten times the
 * time. Returns whether it is. */
static int unlimited(uint8_t by_rank[256], const uint32_t *weights, int n) {
    uint64_t wide[256], merged[256];
    uint32_t parents[256];
    size_t leaves[TSR_TREE_DEPTH_MAX];
    for (int r = 0; r < n; r++) wide[r] = weights[r];
    const int longest = tsr_tree_leaves(leaves, wide, (size_t)n, merged, parents);
    if (longest > MAX_LENGTH) return 0;
    for (int l = longest; l > 0; l--) {
        memset(by_rank, l, leaves[l]);
        by_rank += leaves[l];
    }
    return 1;
}

void tsr_huffman_code_lengths(uint8_t lengths[256], const uint32_t counts[256]) {
    uint32_t weights_room[258], *const weights = weights_room + 1;
    uint8_t symbols[256], by_rank[256];
    const int n = sort_symbols(weights, symbols, counts);
    uint64_t total = 0;
    for (int r = 0; r < n; r++) total += weights[r];
    /* So light a pair is likely to have a code above the limit: then the tree is not worth a try. */
    const int light = (uint64_t)(weights[0] + weights[1]) << (MAX_LENGTH - 1) < total;
    if (light || !unlimited(by_rank, weights, n)) package_merge(by_rank, weights, n);
    memset(lengths, 0, 256);
    for (int r = 0; r < n; r++) lengths[symbols[r]] = by_rank[r];
}

/* Symbols of each length. Absent symbols, most of 256 in small planes, are not counted: 256 additions to one
 * counter would wait for each other. */
static void count_lengths(uint16_t n_of_length[MAX_LENGTH + 1], const uint8_t lengths[256]) {
    memset(n_of_length, 0, (MAX_LENGTH + 1) * sizeof *n_of_length);
    for (int s = 0; s < 256; s++)
        if (lengths[s]) n_of_length[lengths[s]]++;
}

/* First code of each length, not aligned; complete codes only. */
static void first_codes(uint16_t first[MAX_LENGTH + 2], const uint16_t n_of_length[MAX_LENGTH + 1]) {
    uint32_t code = 0;
    for (int l = 1; l <= MAX_LENGTH; l++) {
        first[l] = (uint16_t)code;
        code = (code + n_of_length[l]) << 1;
    }
}

void tsr_huffman_codewords(huffman_codewords *codewords, const uint8_t lengths[256]) {
    uint16_t n_of_length[MAX_LENGTH + 1], next[MAX_LENGTH + 2];
    count_lengths(n_of_length, lengths);
    first_codes(next, n_of_length);
    memset(codewords, 0, sizeof *codewords);
    for (int s = 0; s < 256; s++)
        if (lengths[s]) codewords->entry[s] = (uint16_t)(lengths[s] << 12 | next[lengths[s]]++);
}

enum { NIBBLE_ABSENT_SHORT = 12, NIBBLE_ABSENT_LONG = 13, NIBBLE_REPEAT = 14 };

size_t tsr_huffman_table_write(uint8_t dst[TABLE_BYTES_MAX], const uint8_t lengths[256]) {
    size_t n = 0; /* nibbles */
    dst[0] = 0;
#define PUT(nibble)                                               \
    do {                                                          \
        if (n & 1) dst[n >> 1] |= (uint8_t)(nibble);              \
        else dst[n >> 1] = (uint8_t)((unsigned)(nibble) << 4);    \
        n++;                                                      \
    } while (0)
    for (int s = 0; s < 256;) {
        int run = 1;
        while (s + run < 256 && lengths[s + run] == lengths[s]) run++;
        const int length = lengths[s];
        s += run;
        if (length) {
            PUT(length);
            for (run--; run >= 3;) {
                const int repeat = run < 18 ? run : 18;
                PUT(NIBBLE_REPEAT);
                PUT(repeat - 3);
                run -= repeat;
            }
            while (run-- > 0) PUT(length);
            continue;
        }
        while (run >= 18) {
            const int absent = run < 273 ? run : 273;
            PUT(NIBBLE_ABSENT_LONG);
            PUT((absent - 18) >> 4);
            PUT((absent - 18) & 15);
            run -= absent;
        }
        while (run >= 2) {
            const int absent = run < 17 ? run : 17;
            PUT(NIBBLE_ABSENT_SHORT);
            PUT(absent - 2);
            run -= absent;
        }
        if (run) PUT(0);
    }
#undef PUT
    return (n + 1) / 2;
}

/* The symbols that have codes, in order. */
typedef struct coded_symbols {
    int n;
    uint8_t symbol[256], length[256];
    uint16_t n_of_length[MAX_LENGTH + 1];
} coded_symbols;

static tsr_result read_lengths(coded_symbols *coded, const uint8_t *src, size_t src_len, size_t *n_read) {
    const size_t n_nibbles = 2 * src_len;
    size_t at = 0;
    int s = 0, last = 0;
    memset(coded, 0, sizeof *coded);
    while (s < 256) {
        int run = 1, length;
        /* No form has more than three nibbles; those past the end read as zero and are refused below. */
        const size_t i = at >> 1;
        const unsigned bytes = (i < src_len ? src[i] : 0u) << 8 | (i + 1 < src_len ? src[i + 1] : 0u);
        const unsigned nibbles = bytes >> (at & 1 ? 0 : 4);
        const int first = (int)(nibbles >> 8 & 15), second = (int)(nibbles >> 4 & 15);
        if (first <= MAX_LENGTH) {
            length = last = first;
            at += 1;
        } else if (first == NIBBLE_ABSENT_SHORT) {
            length = last = 0;
            run = second + 2;
            at += 2;
        } else if (first == NIBBLE_ABSENT_LONG) {
            length = last = 0;
            run = (int)(nibbles & 255) + 18;
            at += 3;
        } else if (first == NIBBLE_REPEAT && last) {
            length = last;
            run = second + 3;
            at += 2;
        } else {
            return TSR_ERR_TABLE_NIBBLE;
        }
        if (at > n_nibbles) return TSR_ERR_TABLE_TRUNCATED;
        if (run > 256 - s) return TSR_ERR_TABLE_OVERRUN;
        const int end = s + run;
        if (length) {
            coded->n_of_length[length] = (uint16_t)(coded->n_of_length[length] + run);
            for (; s < end; s++) {
                coded->symbol[coded->n] = (uint8_t)s;
                coded->length[coded->n++] = (uint8_t)length;
            }
        }
        s = end;
    }
    if (at & 1 && src[at >> 1] & 15) return TSR_ERR_PADDING;
    *n_read = (at + 1) / 2;
    return TSR_OK;
}

tsr_result tsr_huffman_table_read(huffman_code *code, const uint8_t *src, size_t src_len, size_t *n_read) {
    coded_symbols coded;
    const tsr_result rc = read_lengths(&coded, src, src_len, n_read);
    if (rc != TSR_OK) return rc;

    uint32_t used = 0;
    code->max_length = 0;
    for (int l = 1; l <= MAX_LENGTH; l++) {
        used += (uint32_t)coded.n_of_length[l] << (MAX_LENGTH - l);
        if (coded.n_of_length[l]) code->max_length = l;
    }
    if (used > 1u << MAX_LENGTH) return TSR_ERR_CODE_OVERSUBSCRIBED;
    if (used < 1u << MAX_LENGTH) return TSR_ERR_CODE_INCOMPLETE;

    first_codes(code->first_code, coded.n_of_length);
    uint16_t next[MAX_LENGTH + 2];
    uint16_t index = 0;
    for (int l = 1; l <= MAX_LENGTH + 1; l++) {
        code->first_index[l] = next[l] = index;
        code->limit[l] = l <= code->max_length ? (uint32_t)code->first_code[l] << (16 - l) : 0x10000u;
        if (l <= MAX_LENGTH) index = (uint16_t)(index + coded.n_of_length[l]);
    }
    memset(code->sorted, 0, sizeof code->sorted);
    for (int i = 0; i < coded.n; i++) code->sorted[next[coded.length[i]]++] = coded.symbol[i];
    return TSR_OK;
}

void tsr_huffman_flat_table(uint16_t *flat, const huffman_code *code, int n_bits) {
    for (int l = 1; l <= code->max_length; l++) {
        const size_t width = (size_t)1 << (n_bits - l);
        for (int i = code->first_index[l]; i < code->first_index[l + 1]; i++) {
            const uint16_t entry = (uint16_t)(code->sorted[i] << 8 | l);
            for (size_t w = 0; w < width; w++) *flat++ = entry;
        }
    }
}
