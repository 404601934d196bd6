/*
 * Fuzzes affine quantization: whatever the floats, scales and channels, every CPU path does the same as the plain
 * one, and touches nothing beyond.
 *
 * With libFuzzer:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/include -Icsrc/common -Icsrc/cpu -Icsrc/huffman \
 *       -Icsrc/lzw -Icsrc/planes -Icsrc/quantize csrc/fuzz/fuzz_quantize.c \
 *       csrc/{common,cpu,huffman,lzw,planes,quantize}/[a-z]*.c -o fuzz
 *   ./fuzz -max_total_time=60 csrc/fuzz/corpus/quantize
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that invents arrays by itself:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py and tests/test_neon.py build and run this one)
 */
#ifdef FUZZ_GUARDED
#include "guarded_malloc.h"
#endif
#include "fuzz_common.h"

#include <float.h>

#define N_BINS 32

typedef struct problem {
    const void *src;
    int type, bits, is_symmetric, type_back;
    tsr_channels channels;
    size_t n_row;
    float factor; /* of the scales, so that some elements are beyond the integers */
} problem;

/* All that the kernels make of an array. */
typedef struct outcome {
    float *low, *high, *scale;
    uint8_t *zero, *integers, *restored;
    uint64_t *counts;
    double *error;
    size_t first, first_quantized, n_integers, n_restored;
} outcome;

static outcome solve(const problem *p) {
    const size_t n_channels = p->channels.n_channels, n = p->channels.n;
    outcome o = {0};
    double *limits = room(n_channels * sizeof *limits);
    o.low = room(n_channels * sizeof(float));
    o.high = room(n_channels * sizeof(float));
    o.scale = room(n_channels * sizeof(float));
    o.zero = p->is_symmetric ? NULL : room(n_channels);
    o.counts = room(n_channels * N_BINS * sizeof(uint64_t));
    o.error = room(n_channels * sizeof(double));
    memset(o.counts, 0, n_channels * N_BINS * sizeof(uint64_t));
    for (size_t c = 0; c < n_channels; c++) {
        limits[c] = c & 1 ? 1 : 0x1p-140;
        o.error[c] = 0;
    }
    o.first = tsr_float_range(o.low, o.high, p->src, p->type, &p->channels);
    tsr_affine_parameters(o.scale, o.zero, o.low, o.high, n_channels, p->bits);
    for (size_t c = 0; c < n_channels; c++) {
        CHECK(o.scale[c] >= FLT_MIN && o.scale[c] <= FLT_MAX);
        if (c & 1) o.scale[c] *= p->factor;
        if (o.scale[c] == 0) o.scale[c] = FLT_MIN;
    }
    o.n_integers = n;
    if (p->bits <= TSR_AFFINE_PACKED_BITS) o.n_integers = n / p->n_row * ((p->n_row + 1) / 2);
    o.integers = room(o.n_integers);
    o.first_quantized = tsr_affine_quantize(o.integers, p->src, p->type, &p->channels, o.scale, o.zero, p->bits,
                                            p->n_row);
    CHECK(o.first_quantized == o.first);
    o.n_restored = n * tsr_float_size(p->type_back);
    o.restored = room(o.n_restored);
    tsr_affine_dequantize(o.restored, p->type_back, o.integers, &p->channels, o.scale, o.zero, p->bits, p->n_row);
    tsr_float_histogram(o.counts, N_BINS, limits, p->src, p->type, &p->channels);
    tsr_affine_error(o.error, p->src, p->type, &p->channels, o.scale, o.zero, p->bits);
    free(limits);
    return o;
}

static void check_same(const outcome *a, const outcome *b, size_t n_channels) {
    CHECK(a->first == b->first);
    CHECK(!memcmp(a->low, b->low, n_channels * sizeof(float)));
    CHECK(!memcmp(a->high, b->high, n_channels * sizeof(float)));
    CHECK(!memcmp(a->integers, b->integers, a->n_integers));
    CHECK(!memcmp(a->restored, b->restored, a->n_restored));
    CHECK(!memcmp(a->counts, b->counts, n_channels * N_BINS * sizeof(uint64_t)));
    CHECK(!memcmp(a->error, b->error, n_channels * sizeof(double)));
}

static void free_outcome(outcome *o) {
    free(o->low);
    free(o->high);
    free(o->scale);
    free(o->zero);
    free(o->integers);
    free(o->restored);
    free(o->counts);
    free(o->error);
}

static void solve_everywhere(const problem *p) {
    CHECK(tsr_cpu_select(TSR_CPU_SCALAR) == 0);
    outcome plain = solve(p);
    for (int path = TSR_CPU_SCALAR + 1; path < TSR_CPU_PATHS; path++) {
        if (tsr_cpu_select(path)) continue;
        CHECK(tsr_quantize_kernel_path() == path);
        outcome o = solve(p);
        check_same(&plain, &o, p->channels.n_channels);
        free_outcome(&o);
    }
    free_outcome(&plain);
}

/* Eight bytes tell what the others are: type, bits, kind, factor, channels, elements of a row. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const float factors[4] = {1, 0.25f, 0x1p-100f, 0x1p-149f};
    if (size < 8) return 0;
    problem p = {0};
    p.type = data[0] % 4;
    p.type_back = data[0] / 4 % 4;
    p.bits = 2 + data[1] % 7;
    p.is_symmetric = data[1] & 128 ? 1 : 0;
    p.factor = factors[data[2] % 4];
    p.channels.n_channels = 1 + (size_t)(data[3] | data[4] << 8) % 3000;
    p.channels.n_inner = 1 + (size_t)(data[5] | data[6] << 8) % 5000;
    const size_t n_given = (size - 8) / tsr_float_size(p.type);
    /* Channels are only as many, and as large, as there are elements. */
    if (p.channels.n_inner > n_given) p.channels.n_inner = n_given;
    if (n_given == 0) return 0;
    if (p.channels.n_channels > n_given / p.channels.n_inner) p.channels.n_channels = n_given / p.channels.n_inner;
    const size_t period = p.channels.n_channels * p.channels.n_inner;
    p.channels.n = n_given / period * period;
    p.n_row = data[7] & 1 ? p.channels.n_inner : data[7] & 2 ? p.channels.n : period;
    uint8_t *src = copy(data + 8, p.channels.n * tsr_float_size(p.type));
    p.src = src;
    solve_everywhere(&p);
    free(src);
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
        const size_t n = 8 + below(i % 4 ? 4000 : 70000);
        uint8_t *bytes = room(n);
        invent(bytes, n);
        for (size_t k = 0; k < 8; k++) bytes[k] = (uint8_t)below(256);
        if (below(2)) bytes[4] = 0; /* few channels */
        if (below(2)) bytes[6] = 0; /* short rows */
        LLVMFuzzerTestOneInput(bytes, n);
        free(bytes);
    }
    printf("%zu arrays on every path, lastly on %s: no fault\n", n_cases, tsr_cpu_path_name(tsr_cpu_selected()));
    return 0;
}
#endif
