/* From symbols of 1, 2 or 4 bytes to bit strings. */
#include "huffman_wide_internal.h"

#define WORD_LENGTH(word) ((unsigned)(word) & 63)
/* A count of symbols is a little-endian base-128 number. */
#define COUNT_BYTES_MAX 10

static size_t put_count(uint8_t *dst, uint64_t n) {
    size_t size = 0;
    for (; n >= 128; n >>= 7) dst[size++] = (uint8_t)(n | 128);
    dst[size++] = (uint8_t)n;
    return size;
}

/* ---- Measuring ---------------------------------------------------------------------------------- */

TSR_INLINE size_t measure(uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words, const uint8_t *src, size_t n,
                          int width) {
    size_t i = 0;
    for (int string = 0; string < n_strings(n); string++) {
        const size_t start = i, end = start + n_of_string(n, string);
        uint64_t sum = 0;
        int unknown = 0;
        for (; i < end; i++) {
            const uint64_t word = words[symbol_at(src, i, width)];
            sum += WORD_LENGTH(word);
            unknown |= !word;
        }
        if (unknown) {
            for (i = start; words[symbol_at(src, i, width)];) i++;
            return i;
        }
        n_bits[string] = sum;
    }
    return n;
}

size_t tsr_code_measure(uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words, const uint8_t *src, size_t n,
                        int width) {
    memset(n_bits, 0, TSR_CODE_STRINGS * sizeof *n_bits);
    if (width == 1) return measure(n_bits, words, src, n, 1);
    if (width == 2) return measure(n_bits, words, src, n, 2);
    return measure(n_bits, words, src, n, 4);
}

static uint64_t string_bytes(uint64_t n_bits) { return (n_bits + 7) / 8; }

size_t tsr_code_encoded_size(const uint64_t n_bits[TSR_CODE_STRINGS], size_t n) {
    uint8_t count[COUNT_BYTES_MAX];
    uint64_t size = put_count(count, n) + 8 * (uint64_t)(n_strings(n) - 1);
    for (int string = 0; string < n_strings(n); string++) size += string_bytes(n_bits[string]);
    return (size_t)size;
}

/* ---- Encoding ------------------------------------------------------------------------------------- */

TSR_INLINE void put_pair(bit_writer *w, uint64_t a, uint64_t b) {
    if (TSR_LIKELY(WORD_LENGTH(a) + WORD_LENGTH(b) <= 56)) {
        put_bits(w, (a >> 6) << WORD_LENGTH(b) | b >> 6, WORD_LENGTH(a) + WORD_LENGTH(b));
    } else {
        put_bits(w, a >> 6, WORD_LENGTH(a));
        put_bits(w, b >> 6, WORD_LENGTH(b));
    }
}

/* Four codes are joined and stored at once where they have at most 56 bits, else by pairs. */
TSR_INLINE void encode_string(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n, int width) {
    bit_writer w = {dst, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const uint64_t a = words[symbol_at(src, i, width)], b = words[symbol_at(src, i + 1, width)];
        const uint64_t c = words[symbol_at(src, i + 2, width)], d = words[symbol_at(src, i + 3, width)];
        const unsigned first = WORD_LENGTH(a) + WORD_LENGTH(b), second = WORD_LENGTH(c) + WORD_LENGTH(d);
        if (TSR_LIKELY(first + second <= 56)) {
            const uint64_t ab = (a >> 6) << WORD_LENGTH(b) | b >> 6;
            const uint64_t cd = (c >> 6) << WORD_LENGTH(d) | d >> 6;
            put_bits(&w, ab << second | cd, first + second);
        } else {
            put_pair(&w, a, b);
            put_pair(&w, c, d);
        }
    }
    for (; i < n; i++) {
        const uint64_t word = words[symbol_at(src, i, width)];
        put_bits(&w, word >> 6, WORD_LENGTH(word));
    }
}

void tsr_code_encode_bits(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n, int width) {
    if (width == 1) encode_string(dst, words, src, n, 1);
    else if (width == 2) encode_string(dst, words, src, n, 2);
    else encode_string(dst, words, src, n, 4);
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
