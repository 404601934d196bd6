/* From symbols of 1, 2 or 4 bytes to bit strings. */
#include "huffman_wide_internal.h"

/* A count of symbols is a little-endian base-128 number. */
#define COUNT_BYTES_MAX 10

static size_t put_count(uint8_t *dst, uint64_t n) {
    size_t size = 0;
    for (; n >= 128; n >>= 7) dst[size++] = (uint8_t)(n | 128);
    dst[size++] = (uint8_t)n;
    return size;
}

size_t tsr_code_measure(uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words, const uint8_t *src, size_t n,
                        int width) {
    memset(n_bits, 0, TSR_CODE_STRINGS * sizeof *n_bits);
    return tsr_code_active()->measure(n_bits, words, src, n, width);
}

static uint64_t string_bytes(uint64_t n_bits) { return (n_bits + 7) / 8; }

size_t tsr_code_encoded_size(const uint64_t n_bits[TSR_CODE_STRINGS], size_t n) {
    uint8_t count[COUNT_BYTES_MAX];
    uint64_t size = put_count(count, n) + 8 * (uint64_t)(n_strings(n) - 1);
    for (int string = 0; string < n_strings(n); string++) size += string_bytes(n_bits[string]);
    return (size_t)size;
}

void tsr_code_encode_bits(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n, int width) {
    tsr_code_active()->encode_bits(dst, words, src, n, width);
}

void tsr_code_encode(uint8_t *dst, const uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words,
                     const uint8_t *src, size_t n, int width) {
    dst += put_count(dst, n);
    for (int string = 0; string + 1 < n_strings(n); string++, dst += 8) {
        const uint64_t size = string_bytes(n_bits[string]);
        memcpy(dst, &size, 8);
    }
    /* In order: what is stored past the end of one is overwritten by the next. */
    for (int string = 0; string < n_strings(n); string++) {
        const size_t part = n_of_string(n, string);
        tsr_code_encode_bits(dst, words, src, part, width);
        dst += string_bytes(n_bits[string]);
        src += part * (size_t)width;
    }
}
