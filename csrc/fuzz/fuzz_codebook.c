/*
 * Fuzzes codebooks: whatever the floats, levels and indices, every CPU path does the same as the plain one, and touches
 * nothing beyond; and k-means makes levels of all that is finite.
 *
 * With libFuzzer:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/include -Icsrc/common -Icsrc/cpu -Icsrc/huffman \
 *       -Icsrc/lzw -Icsrc/planes -Icsrc/quantize csrc/fuzz/fuzz_codebook.c \
 *       csrc/{common,cpu,huffman,lzw,planes,quantize}/[a-z]*.c -o fuzz
 *   ./fuzz -max_total_time=60 csrc/fuzz/corpus/codebook
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that invents arrays by itself:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py and tests/test_neon.py build and run this one)
 */
#ifdef FUZZ_GUARDED
#include "guarded_malloc.h"
#endif
#include "fuzz_common.h"

#include <math.h>

typedef struct problem {
    const uint8_t *bytes; /* elements, and then again indices */
    size_t n;
    int type;
    tsr_codebook codebook;
    tsr_codebook_rows rows;
} problem;

/* Sorted floats, which make good levels. */
static float *sorted_floats(const uint8_t *bytes, size_t n, int weighted, float *sorted_weights) {
    float *x = room(n * sizeof(float)), *sorted = room(n * sizeof(float)), *weights = NULL;
    if (n) memcpy(x, bytes, n * sizeof(float));
    if (weighted) {
        weights = room(n * sizeof(float));
        for (size_t i = 0; i < n; i++) weights[i] = (float)(1 + bytes[4 * i] % 7);
    }
    void *workspace = room(tsr_sort_workspace_size(n, weighted));
    tsr_sort_floats(sorted, sorted_weights, x, weights, n, workspace);
    for (size_t i = 1; i < n; i++) CHECK(!(sorted[i] < sorted[i - 1]) && (!isnan(sorted[i - 1]) || isnan(sorted[i])));
    free(workspace);
    free(weights);
    free(x);
    return sorted;
}

static void cluster(const uint8_t *bytes, size_t n, size_t n_levels, int weighted, int keep_zero) {
    float *weights = weighted ? room(n * sizeof(float)) : NULL, *levels = room(n_levels * sizeof(float));
    float *sorted = sorted_floats(bytes, n, weighted, weights);
    size_t from = 0, to = n;
    while (from < to && isinf(sorted[from])) from++;
    while (to > from && !isfinite(sorted[to - 1])) to--;
    if (from < to) {
        void *workspace = room(tsr_kmeans_workspace_size(to - from, weighted));
        const size_t n_found =
            tsr_kmeans(levels, n_levels, sorted + from, weighted ? weights + from : NULL, to - from, keep_zero, workspace);
        int has_zero = 0;
        CHECK(n_found >= 1 && n_found <= n_levels);
        for (size_t i = 0; i < n_found; i++) {
            CHECK(isfinite(levels[i]) && (i == 0 || levels[i - 1] <= levels[i]));
            has_zero |= levels[i] == 0;
        }
        CHECK(!keep_zero || has_zero);
        free(workspace);
    }
    free(sorted);
    free(levels);
    free(weights);
}

static void condense(const uint8_t *bytes, size_t n) {
    float *sorted = sorted_floats(bytes, n, 0, NULL), *x = sorted;
    while (n > 0 && isinf(*x)) x++, n--;
    while (n > 0 && !isfinite(x[n - 1])) n--;
    if (n > 0) {
        float *values = room(TSR_CONDENSED_MAX * sizeof(float)), *weights = room(TSR_CONDENSED_MAX * sizeof(float));
        void *workspace = room(tsr_condense_workspace_size());
        const size_t n_found = tsr_condense(values, weights, x, n, workspace);
        double sum = 0;
        CHECK(n_found >= 1 && n_found <= n);
        for (size_t i = 0; i < n_found; i++) {
            CHECK(values[i] >= x[0] && values[i] <= x[n - 1] && weights[i] >= 1);
            sum += weights[i];
        }
        CHECK(sum == (double)n);
        free(workspace);
        free(weights);
        free(values);
    }
    free(sorted);
}

static size_t n_index_bytes(const problem *p) {
    return p->rows.n_rows * (p->rows.packed ? (p->rows.row + 1) / 2 : p->rows.row);
}

static void solve_everywhere(const problem *p) {
    const size_t size = tsr_codebook_tree_size(p->codebook.n_levels), n_indices = n_index_bytes(p);
    const size_t n_restored = p->n * tsr_float_size(p->type);
    float *trees = room(p->codebook.n_codebooks * size);
    /* Of the plain path and of another: indices, what they stand for, and what indices from outside do. */
    uint8_t *indices[2], *restored[2], *decoded[2];
    for (int k = 0; k < 2; k++) {
        indices[k] = room(n_indices);
        restored[k] = room(n_restored);
        decoded[k] = room(n_restored);
    }
    uint8_t *x = copy(p->bytes, n_restored), *wild = copy(p->bytes, n_indices);
    double error[2];
    size_t first[2];
    tsr_result rc[2];
    for (size_t g = 0; g < p->codebook.n_codebooks; g++)
        tsr_codebook_tree((float *)(void *)((uint8_t *)trees + g * size),
                          p->codebook.levels + g * p->codebook.n_levels, p->codebook.n_levels);
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        const int k = path > 0;
        if (tsr_cpu_select(path)) continue;
        CHECK(tsr_codebook_kernel_path() == path);
        first[k] = tsr_codebook_assign(indices[k], x, p->type, &p->rows, &p->codebook, trees, &error[k]);
        CHECK(tsr_codebook_dequantize(restored[k], p->type, indices[k], &p->rows, &p->codebook) == TSR_OK);
        if (k) {
            CHECK(first[0] == first[1]);
            CHECK(!memcmp(indices[0], indices[1], n_indices));
            CHECK(!memcmp(restored[0], restored[1], n_restored));
            CHECK(!memcmp(&error[0], &error[1], sizeof error[0]) || (isnan(error[0]) && isnan(error[1])));
        }
        rc[k] = tsr_codebook_dequantize(decoded[k], p->type, wild, &p->rows, &p->codebook);
        if (k) CHECK(rc[0] == rc[1] && (rc[0] != TSR_OK || !memcmp(decoded[0], decoded[1], n_restored)));
    }
    free(wild);
    free(x);
    for (int k = 0; k < 2; k++) {
        free(indices[k]);
        free(restored[k]);
        free(decoded[k]);
    }
    free(trees);
}

#define N_HEADER 10

/* Ten bytes tell what the others are: type, levels, groups, run, row, and which parts there are. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < N_HEADER + 8) return 0;
    const int is_scaled = data[8] & 1, has_own = data[8] & 2;
    problem p = {0};
    p.type = data[0] % 4;
    p.n = (size - N_HEADER) / 8; /* whatever the type */
    p.bytes = data + N_HEADER;
    p.rows.row = 1 + (size_t)(data[6] | data[7] << 8) % p.n;
    p.rows.n_rows = p.n / p.rows.row;
    p.n = p.rows.row * p.rows.n_rows;
    p.codebook.n_levels = 1 + (size_t)data[1];
    p.rows.packed = p.codebook.n_levels <= 16;
    p.codebook.n_groups = 1 + (size_t)data[2] % 40;
    p.codebook.run = 1 + (size_t)(data[4] | data[5] << 8);
    p.codebook.n_codebooks = has_own ? p.codebook.n_groups : 1;
    p.rows.first = data[9];

    const size_t n_floats = p.n, n_levels = p.codebook.n_levels;
    float *sorted = sorted_floats(p.bytes, n_floats, 0, NULL);
    float *levels = room(p.codebook.n_codebooks * n_levels * sizeof(float));
    for (size_t g = 0; g < p.codebook.n_codebooks; g++)
        for (size_t i = 0; i < n_levels; i++) levels[g * n_levels + i] = sorted[i * (n_floats - 1) / n_levels];
    float *scales = room(p.codebook.n_groups * sizeof(float));
    for (size_t g = 0; g < p.codebook.n_groups; g++) {
        const float scale = fabsf(sorted[g * 7919 % n_floats]);
        scales[g] = g % 5 && isfinite(scale) ? scale : 0;
    }
    p.codebook.levels = levels;
    p.codebook.scales = is_scaled ? scales : NULL;
    solve_everywhere(&p);
    if (data[8] & 16) condense(p.bytes, n_floats);
    cluster(p.bytes, n_floats, n_levels, data[8] & 4, data[8] & 8);
    free(scales);
    free(levels);
    free(sorted);
    return 0;
}

#ifdef FUZZ_STANDALONE
/* Bytes that as floats of any type are numbers of about one size, or now and then anything at all. */
static void invent(uint8_t *bytes, size_t n) {
    const int is_wild = below(4) == 0;
    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)below(256);
    if (is_wild) return;
    for (size_t i = 1; i < n; i += 2) bytes[i] = (uint8_t)((below(2) ? 0x3C : 0xBC) + below(4));
}

int main(int argc, char **argv) {
    const size_t n_cases = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 1;
    for (size_t i = 0; i < n_cases; i++) {
        const size_t n = N_HEADER + 8 + below(i % 4 ? 8000 : 70000);
        uint8_t *bytes = room(n);
        invent(bytes, n);
        for (size_t k = 0; k < N_HEADER; k++) bytes[k] = (uint8_t)below(256);
        if (below(2)) bytes[1] %= 20; /* few levels */
        if (below(2)) bytes[5] = 0;   /* short runs */
        LLVMFuzzerTestOneInput(bytes, n);
        free(bytes);
    }
    printf("%zu arrays on every path, lastly on %s: no fault\n", n_cases, tsr_cpu_path_name(tsr_cpu_selected()));
    return 0;
}
#endif
