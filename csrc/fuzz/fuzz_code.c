/*
 * Fuzzes the codes of wide alphabets on every CPU path: tables, decoders and both kinds of data.
 *
 * With libFuzzer:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/include -Icsrc/common -Icsrc/cpu -Icsrc/huffman \
 *       -Icsrc/planes -Icsrc/lzw csrc/fuzz/fuzz_code.c csrc/{common,cpu,huffman,planes,lzw}/[a-z]*.c -o fuzz
 *   ./fuzz -max_total_time=60 csrc/fuzz/corpus/code
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that damages tables and data by itself:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py builds and runs this one)
 */
#include "fuzz_common.h"

#define ALPHABET_MAX 5000

/* A code as its table tells it, and its decoder. */
typedef struct code {
    size_t n_alphabet, n;
    uint8_t *lengths; /* of every number of the alphabet */
    uint32_t n_of_length[TSR_CODE_MAX_LENGTH + 1];
    uint32_t *symbols; /* canonical order */
    void *decoder;
} code;

static void free_code(code *c) {
    free(c->lengths);
    free(c->symbols);
    free(c->decoder);
}

/* Reads a table and makes its decoder; returns whether it is one. */
static int open_code(code *c, size_t n_alphabet, const uint8_t *table, size_t n_table) {
    uint8_t *exact = copy(table, n_table);
    *c = (code){n_alphabet, 0, room(n_alphabet), {0}, NULL, NULL};
    const tsr_result rc = tsr_code_table_read(c->lengths, n_alphabet, exact, n_table);
    free(exact);
    CHECK(rc <= 0 && rc >= TSR_RESULT_LAST);
    if (rc == TSR_OK) {
        for (size_t s = 0; s < n_alphabet; s++) c->n += c->lengths[s] > 0;
        c->symbols = room(c->n * sizeof *c->symbols);
        size_t rank = 0;
        for (int l = 1; l <= TSR_CODE_MAX_LENGTH; l++)
            for (size_t s = 0; s < n_alphabet; s++)
                if (c->lengths[s] == l) {
                    c->symbols[rank++] = (uint32_t)s;
                    c->n_of_length[l]++;
                }
        c->decoder = room(tsr_code_decoder_size(c->n));
        CHECK(tsr_code_decoder_init(c->decoder, c->n_of_length, c->symbols, c->n) == TSR_OK);
        return 1;
    }
    free_code(c);
    return 0;
}

/* Decodes data of both kinds on every path; all must agree. `expected`: n symbols of two bytes, or NULL. */
static void decode_everywhere(const code *c, const uint8_t *data, size_t size, const uint8_t *expected, size_t n) {
    uint8_t *first = NULL, *src = copy(data, size);
    uint64_t claimed;
    size_t n_count;
    tsr_result first_rc = TSR_OK;
    if (tsr_code_decode_count(c->decoder, src, size, &claimed, &n_count) != TSR_OK) claimed = 0;
    CHECK(claimed <= 8 * (uint64_t)size);
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        if (tsr_cpu_select(path)) continue;
        uint8_t *dst = room(2 * (size_t)claimed), *bits = room(2 * 8 * size);
        size_t n_bits_symbols;
        uint64_t n_used;
        memset(dst, 0, 2 * (size_t)claimed);
        const tsr_result rc = tsr_code_decode(c->decoder, dst, (size_t)claimed, 2, src, size);
        CHECK(rc <= 0 && rc >= TSR_RESULT_LAST);
        if (expected) CHECK(rc == TSR_OK && claimed == n && !memcmp(dst, expected, 2 * n));
        if (tsr_code_decode_bits(c->decoder, bits, 8 * size, 2, src, size, 8 * (uint64_t)size, &n_bits_symbols,
                                 &n_used) == TSR_OK)
            CHECK(n_used == 8 * (uint64_t)size);
        CHECK(n_bits_symbols <= 8 * size);
        free(bits);
        if (first) {
            CHECK(rc == first_rc);
            if (rc == TSR_OK) CHECK(!memcmp(dst, first, 2 * (size_t)claimed));
            free(dst);
        } else {
            first = dst;
            first_rc = rc;
        }
    }
    free(first);
    free(src);
}

static int by_value(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The code of n symbols of two bytes below ALPHABET_MAX, at least two of them different, and its table. */
static uint8_t *make_table(const uint8_t *symbols, size_t n, int max_length, size_t *n_table) {
    uint64_t counts[ALPHABET_MAX] = {0}, order[ALPHABET_MAX];
    uint8_t lengths[ALPHABET_MAX] = {0}, sorted[ALPHABET_MAX];
    size_t n_symbols = 0;
    for (size_t i = 0; i < n; i++) counts[symbols[2 * i] | symbols[2 * i + 1] << 8]++;
    for (size_t s = 0; s < ALPHABET_MAX; s++)
        if (counts[s]) order[n_symbols++] = counts[s] << 16 | s;
    qsort(order, n_symbols, sizeof *order, by_value);
    uint64_t weights[ALPHABET_MAX];
    for (size_t r = 0; r < n_symbols; r++) weights[r] = order[r] >> 16;
    while (max_length < 13 && n_symbols > (size_t)1 << max_length) max_length++;
    void *workspace = room(tsr_code_lengths_workspace_size(n_symbols, max_length));
    tsr_code_lengths(sorted, weights, n_symbols, max_length, workspace);
    free(workspace);
    for (size_t r = 0; r < n_symbols; r++) {
        CHECK(sorted[r] >= 1 && sorted[r] <= max_length);
        lengths[order[r] & 0xFFFF] = sorted[r];
    }
    uint8_t *table = room(tsr_code_table_bound(ALPHABET_MAX));
    *n_table = tsr_code_table_write(table, lengths, ALPHABET_MAX);
    CHECK(*n_table <= tsr_code_table_bound(ALPHABET_MAX));
    return table;
}

/* Codes the symbols, with the same bytes on every path; the caller frees them. */
static uint8_t *encode_everywhere(const code *c, const uint8_t *symbols, size_t n, size_t *size) {
    uint64_t *words = room(65536 * sizeof *words), next = 0;
    uint8_t *first = NULL, *src = copy(symbols, 2 * n);
    memset(words, 0, 65536 * sizeof *words);
    for (size_t r = 0; r < c->n; r++) {
        const unsigned length = c->lengths[c->symbols[r]];
        const unsigned before = r ? c->lengths[c->symbols[r - 1]] : length;
        next <<= length - before;
        words[c->symbols[r]] = next++ << 6 | length;
    }
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        uint64_t n_bits[TSR_CODE_STRINGS];
        if (tsr_cpu_select(path)) continue;
        CHECK(tsr_code_measure(n_bits, words, src, n, 2) == n);
        const size_t this_size = tsr_code_encoded_size(n_bits, n);
        uint8_t *dst = room(this_size + TSR_CODE_SLACK);
        tsr_code_encode(dst, n_bits, words, src, n, 2);
        if (first) {
            CHECK(this_size == *size && !memcmp(first, dst, this_size));
            free(dst);
        } else {
            first = dst;
            *size = this_size;
        }
    }
    free(words);
    free(src);
    return first;
}

/* Of a byte string: two different symbols at least, and enough of them for all bit strings now and then. */
static uint8_t *symbols_from(const uint8_t *data, size_t size, int shift, size_t *n) {
    *n = size + 2;
    if (shift & 1) *n += TSR_CODE_STRINGS_MIN;
    uint8_t *symbols = room(2 * *n);
    for (size_t i = 0; i < *n; i++) {
        const unsigned byte = i < 2 || size == 0 ? (unsigned)i & 1 : data[i % size];
        const unsigned symbol = (byte * (1u + (unsigned)(shift >> 1)) + (unsigned)(i & 7) * (unsigned)(shift & 6)) %
                                ALPHABET_MAX;
        symbols[2 * i] = (uint8_t)symbol;
        symbols[2 * i + 1] = (uint8_t)(symbol >> 8);
    }
    return symbols;
}

/* First byte below 128: a table of so many bytes as the next two say, then data; else symbols to code. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    code c;
    if (size < 5) return 0;
    if (data[0] < 128) {
        const size_t n_alphabet = 1 + ((size_t)data[1] << 8 | data[2]) % ALPHABET_MAX;
        const size_t n_rest = size - 5, n_asked = (size_t)data[3] << 8 | data[4];
        const size_t n_table = n_asked < n_rest ? n_asked : n_rest;
        if (!open_code(&c, n_alphabet, data + 5, n_table)) return 0;
        decode_everywhere(&c, data + 5 + n_table, n_rest - n_table, NULL, 0);
        free_code(&c);
        return 0;
    }
    size_t n, n_table, n_coded;
    uint8_t *symbols = symbols_from(data + 3, size - 3, data[1], &n);
    uint8_t *table = make_table(symbols, n, 1 + data[2] % TSR_CODE_MAX_LENGTH, &n_table);
    CHECK(open_code(&c, ALPHABET_MAX, table, n_table));
    uint8_t *coded = encode_everywhere(&c, symbols, n, &n_coded);
    decode_everywhere(&c, coded, n_coded, symbols, n);
    free(coded);
    free_code(&c);
    free(table);
    free(symbols);
    return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv) {
    const size_t n_cases = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 1;
    size_t n_decodes = 0;
    for (size_t i = 0; i < n_cases; i++) {
        const size_t n_bytes = below(3000), few = 1 + below(256);
        uint8_t *bytes = room(n_bytes);
        for (size_t k = 0; k < n_bytes; k++) bytes[k] = (uint8_t)(below(few) & below(256));
        size_t n, n_table, n_coded;
        uint8_t *symbols = symbols_from(bytes, n_bytes, (int)below(40), &n);
        uint8_t *table = make_table(symbols, n, 1 + (int)below(TSR_CODE_MAX_LENGTH), &n_table);
        code c;
        CHECK(open_code(&c, ALPHABET_MAX, table, n_table));
        uint8_t *coded = encode_everywhere(&c, symbols, n, &n_coded);
        decode_everywhere(&c, coded, n_coded, symbols, n);
        for (int m = 0; m < 24; m++) {
            uint8_t *bad_table = copy(table, n_table), *bad = copy(coded, n_coded);
            code read;
            if (below(2)) bad_table[below(n_table)] ^= (uint8_t)(1u << below(8));
            bad[below(2) ? below(n_coded) : below(n_coded < 60 ? n_coded : 60)] ^= (uint8_t)(1u << below(8));
            if (open_code(&read, below(4) ? ALPHABET_MAX : 1 + below(ALPHABET_MAX), bad_table,
                          below(8) ? n_table : below(n_table + 1))) {
                decode_everywhere(&read, bad, below(4) ? n_coded : below(n_coded + 1), NULL, 0);
                free_code(&read);
            }
            n_decodes++;
            free(bad);
            free(bad_table);
        }
        free(coded);
        free_code(&c);
        free(table);
        free(symbols);
        free(bytes);
    }
    printf("%zu codes and %zu damaged ones on every path: no fault\n", n_cases, n_decodes);
    return 0;
}
#endif
