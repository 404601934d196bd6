/*
 * Fuzzes products with quantized matrices: whatever the numbers, every CPU path gives the same bits as the plain one,
 * and touches nothing beyond.
 *
 * With libFuzzer:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/include -Icsrc/common -Icsrc/cpu -Icsrc/huffman \
 *       -Icsrc/lzw -Icsrc/planes -Icsrc/quantize csrc/fuzz/fuzz_linear.c \
 *       csrc/{common,cpu,huffman,lzw,planes,quantize}/[a-z]*.c -o fuzz
 *   ./fuzz -max_total_time=60
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that invents matrices by itself:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py and tests/test_neon.py build and run this one)
 */
#ifdef FUZZ_GUARDED
#include "guarded_malloc.h"
#endif
#include "fuzz_common.h"

#include <math.h>

static void multiply_everywhere(const tsr_linear *w, const float *x, size_t n_rows) {
    const size_t n = n_rows * w->n_out;
    float *plain = room(n * sizeof(float)), *other = room(n * sizeof(float));
    void *workspace = room(tsr_linear_workspace_size(w, n_rows));
    tsr_linear_prepare(workspace, w, x, n_rows);
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        float *const y = path ? other : plain;
        if (tsr_cpu_select(path)) continue;
        CHECK(tsr_linear_kernel_path() == path);
        const size_t half = w->n_out / 2;
        tsr_linear_multiply(y, w, workspace, n_rows, half, w->n_out);
        tsr_linear_multiply(y, w, workspace, n_rows, 0, half);
        /* NaNs may differ in their bits. */
        for (size_t i = 0; i < n; i++) CHECK(!memcmp(&plain[i], &y[i], sizeof *y) || (isnan(plain[i]) && isnan(y[i])));
    }
    free(workspace);
    free(other);
    free(plain);
}

#define N_HEADER 6

/* Six bytes tell the shape of what follows: activations, weights, and what they are multiplied by. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < N_HEADER + 64) return 0;
    const uint8_t *bytes = data + N_HEADER;
    const size_t n_bytes = size - N_HEADER, n_rows = 1 + data[0] % 9;
    tsr_linear w = {0};
    w.bits = data[1] & 1 ? 8 : 4;
    w.n_out = 1 + data[2] % 12;
    w.n_in = 1 + (size_t)(data[3] | data[4] << 8) % 1500;
    w.group_size = data[1] & 2 ? TSR_LINEAR_GROUP * (1 + (size_t)data[5] % 20) : w.n_in;
    const size_t n_groups = (w.n_in + w.group_size - 1) / w.group_size, n_scales = w.n_out * n_groups;
    const size_t n_values = w.n_out * ((w.n_in * (size_t)w.bits + 7) / 8);
    uint8_t *values = room(n_values), *zero_point = room(n_scales);
    float *x = room(n_rows * w.n_in * sizeof(float)), *scale = room(n_scales * sizeof(float));
    for (size_t i = 0; i < n_values; i++) values[i] = bytes[i % n_bytes];
    for (size_t i = 0; i < n_scales; i++) {
        zero_point[i] = (uint8_t)(bytes[i * 7 % n_bytes] & (w.bits == 8 ? 255 : 15));
        memcpy(&scale[i], bytes + i * 3 % (n_bytes - 4), 4);
    }
    for (size_t i = 0; i < n_rows * w.n_in; i++) memcpy(&x[i], bytes + i * 5 % (n_bytes - 4), 4);
    w.values = values;
    w.scale = scale;
    w.zero_point = data[1] & 4 ? zero_point : NULL;
    multiply_everywhere(&w, x, n_rows);
    free(scale);
    free(x);
    free(zero_point);
    free(values);
    return 0;
}

#ifdef FUZZ_STANDALONE
/* Bytes that as floats are numbers of about one size, or now and then anything at all. */
int main(int argc, char **argv) {
    const size_t n_cases = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 1;
    for (size_t i = 0; i < n_cases; i++) {
        const size_t n = N_HEADER + 64 + below(8000);
        const int is_wild = below(4) == 0;
        uint8_t *bytes = room(n);
        for (size_t k = 0; k < n; k++) bytes[k] = (uint8_t)below(256);
        for (size_t k = N_HEADER + 3; k < n && !is_wild; k++) bytes[k] = (uint8_t)((bytes[k] & 0xC0) | 0x3C);
        LLVMFuzzerTestOneInput(bytes, n);
        free(bytes);
    }
    printf("%zu matrices on every path, lastly on %s: no fault\n", n_cases, tsr_cpu_path_name(tsr_cpu_selected()));
    return 0;
}
#endif
