/*
 * Fuzzes the block coder on every CPU path that the machine has.
 *
 * With libFuzzer (a path and its crashes are then found by coverage):
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/{include,common,cpu,huffman,lzw,planes,prune} \
 *       csrc/fuzz/fuzz_block.c csrc/{common,cpu,huffman,lzw,planes,prune}/[a-z]*.c -o fuzz
 *   ./fuzz -max_total_time=60 csrc/fuzz/corpus/block
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that mutates real blocks by itself:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py builds and runs this one)
 *   ./fuzz --blocks FILE       checks blocks that another machine made (tests/test_neon.py)
 */
#ifdef FUZZ_GUARDED
#include "guarded_malloc.h" /* for want of AddressSanitizer */
#endif
#include "fuzz_common.h"

/* Decodes on every path: all must agree, and every error must have a text. */
static void decode_everywhere(const uint8_t *payload, size_t n_payload, uint8_t shape, size_t n_content,
                              const uint8_t *expected) {
    uint8_t *first = NULL;
    tsr_result first_rc = TSR_OK;
    uint8_t *src = copy(payload, n_payload);
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        if (tsr_cpu_select(path)) continue;
        uint8_t *dst = malloc(n_content), *workspace = malloc(tsr_block_workspace_size(n_content));
        size_t fault = 0;
        CHECK(dst && workspace);
        memset(dst, 0, n_content);
        const tsr_result rc = tsr_block_decode(dst, n_content, src, n_payload, shape, workspace, &fault);
        CHECK(rc <= 0 && rc >= TSR_RESULT_LAST && fault <= n_payload);
        CHECK(strcmp(tsr_result_text(rc), "unknown error") != 0);
        if (expected) CHECK(rc == TSR_OK && memcmp(dst, expected, n_content) == 0);
        if (first) {
            CHECK(rc == first_rc);
            if (rc == TSR_OK) CHECK(memcmp(dst, first, n_content) == 0);
            free(dst);
        } else {
            first = dst;
            first_rc = rc;
        }
        free(workspace);
    }
    free(first);
    free(src);
}

/* Encodes on every path, with the same bytes as the result; the caller frees it. */
static uint8_t *encode_everywhere(const uint8_t *content, size_t n, int typesize, int filter, int codec,
                                  size_t *n_payload, uint8_t *shape) {
    uint8_t *first = NULL, *src = copy(content, n);
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        if (tsr_cpu_select(path)) continue;
        const size_t cap = tsr_block_encode_bound(n);
        uint8_t *dst = malloc(cap), *workspace = malloc(tsr_block_workspace_size(n)), this_shape;
        size_t n_written;
        CHECK(dst && workspace);
        CHECK(tsr_block_encode(dst, cap, src, n, typesize, filter, codec, workspace, &n_written,
                               &this_shape) == TSR_OK);
        CHECK(n_written <= n + 4 * (size_t)(typesize + 1));
        if (first) {
            CHECK(n_written == *n_payload && this_shape == *shape && !memcmp(first, dst, n_written));
            free(dst);
        } else {
            first = dst;
            *n_payload = n_written;
            *shape = this_shape;
        }
        free(workspace);
    }
    free(src);
    return first;
}

/* A filter, sparse or not, or the encoder's choice. */
static int filter_of(size_t number, int typesize) {
    const size_t filter = number % 13;
    if (filter == 12) return TSR_FILTER_CHOOSE;
    if (typesize == 1) return TSR_FILTER_NONE;
    return (int)(filter < 6 ? filter : filter - 6 + TSR_FILTER_SPARSE);
}

/* First byte: 0 to 127 = decode the rest; else encode the rest and decode that. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 5) return 0;
    if (data[0] < 128) {
        const size_t n_content = 1 + (((size_t)data[2] << 16 | (size_t)data[3] << 8 | data[4]) & 0x3FFFF);
        decode_everywhere(data + 5, size - 5, data[1], n_content, NULL);
        return 0;
    }
    const int typesize = 1 << (data[1] & 3), codec = data[2] % 3, filter = filter_of(data[3], typesize);
    const uint8_t *content = data + 4;
    const size_t n = size - 4;
    if (n < (size_t)typesize || n > TSR_BLOCK_CONTENT_MAX) return 0;
    size_t n_payload;
    uint8_t shape;
    uint8_t *payload = encode_everywhere(content, n, typesize, filter, codec, &n_payload, &shape);
    decode_everywhere(payload, n_payload, shape, n, content);
    free(payload);
    return 0;
}

#ifdef FUZZ_STANDALONE
/* Content of many kinds: constant, few symbols, skewed beyond the length limit, uniform, numbers. */
static void fill(uint8_t *content, size_t n) {
    const unsigned kind = (unsigned)below(5), skew = 1 + (unsigned)below(7);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = random64();
        unsigned symbol = 0;
        switch (kind) {
        case 0: symbol = 7; break;
        case 1: symbol = r % skew; break;
        case 2:
            for (r |= 1ull << 40; !(r & 1); r >>= 1) symbol += skew; /* geometric */
            break;
        case 3: symbol = (unsigned)r; break;
        default: symbol = (unsigned)(i >> (i & 3 ? 9 : 2)) + (unsigned)(r & 3); break;
        }
        content[i] = (uint8_t)symbol;
    }
}

/* Makes zeros of elements, of some, of most, or of all but a few, and -0.0 of some of these. */
static void prune(uint8_t *content, size_t n, int typesize) {
    const size_t one_in = 1 + (1u << below(10)), signs = below(2);
    for (size_t i = 0; i + (size_t)typesize <= n; i += (size_t)typesize) {
        if (!below(one_in)) continue;
        memset(content + i, 0, (size_t)typesize);
        if (signs && below(2)) content[i + (size_t)typesize - 1] = 0x80;
    }
}

#define DECODE_ONLY 255

/* Blocks as u32 content size, u32 payload size, u8 shape, u8 codec, content, payload. All paths must decode them,
 * and encode the content to the same bytes unless DECODE_ONLY stands for the codec. */
static int check_blocks(const char *name) {
    FILE *file = fopen(name, "rb");
    uint32_t sizes[2];
    uint8_t shape_and_codec[2];
    size_t n_blocks = 0;
    CHECK(file);
    while (fread(sizes, sizeof sizes, 1, file) == 1) {
        CHECK(fread(shape_and_codec, sizeof shape_and_codec, 1, file) == 1);
        const uint8_t shape = shape_and_codec[0], codec = shape_and_codec[1];
        uint8_t *content = malloc(sizes[0]), *payload = malloc(sizes[1]);
        CHECK(content && payload);
        CHECK(fread(content, sizes[0], 1, file) == 1 && fread(payload, sizes[1], 1, file) == 1);
        decode_everywhere(payload, sizes[1], shape, sizes[0], content);
        if (codec != DECODE_ONLY) {
            size_t n_coded;
            uint8_t this_shape;
            uint8_t *coded = encode_everywhere(content, sizes[0], 1 << (shape & 3), shape >> 2, codec, &n_coded,
                                               &this_shape);
            CHECK(this_shape == shape && n_coded == sizes[1] && !memcmp(coded, payload, n_coded));
            free(coded);
        }
        free(content);
        free(payload);
        n_blocks++;
    }
    fclose(file);
    tsr_cpu_select(tsr_cpu_best());
    printf("%zu blocks, lastly on %s and %s\n", n_blocks, tsr_cpu_path_name(tsr_huffman_kernel_path()),
           tsr_cpu_path_name(tsr_planes_kernel_path()));
    return 0;
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {1, 2, 7, 64, 127, 128, 500, 4096, 8191, 8192, 9000, 20000, 70000, 150000};
    if (argc == 3 && strcmp(argv[1], "--blocks") == 0) return check_blocks(argv[2]);
    const size_t n_cases = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 1;
    size_t n_decodes = 0;
    for (size_t c = 0; c < n_cases; c++) {
        const size_t n = sizes[below(sizeof sizes / sizeof *sizes)] + below(3);
        int typesize = 1 << below(4);
        while ((size_t)typesize > n) typesize /= 2;
        uint8_t *content = malloc(n), shape;
        size_t n_payload;
        CHECK(content);
        fill(content, n);
        if (below(2)) prune(content, n, typesize);
        const int filter = filter_of(below(13), typesize);
        uint8_t *payload = encode_everywhere(content, n, typesize, filter,
                                             below(8) ? TSR_CODEC_AUTO : (int)below(3), &n_payload, &shape);
        decode_everywhere(payload, n_payload, shape, n, content);
        for (int m = 0; m < 24; m++) {
            uint8_t *bad = copy(payload, n_payload);
            size_t n_bad = n_payload, n_content = n;
            uint8_t bad_shape = shape;
            for (size_t flips = 1 + below(3); flips-- > 0;) {
                /* Headers and tables are small but decide most, so half of the damage goes there. */
                const size_t reach = below(2) ? n_payload : n_payload < 200 ? n_payload : 200;
                bad[below(reach)] ^= (uint8_t)(1u << below(8));
            }
            if (below(4) == 0) n_bad = below(n_payload + 1);
            if (below(8) == 0) n_content = 1 + below(2 * n);
            if (below(16) == 0) bad_shape = (uint8_t)random64();
            decode_everywhere(bad, n_bad, bad_shape, n_content, NULL);
            n_decodes++;
            free(bad);
        }
        free(payload);
        free(content);
    }
    printf("%zu blocks and %zu damaged ones on every path: no fault\n", n_cases, n_decodes);
    return 0;
}
#endif
