/* The loops over symbols, to be compiled for each instruction set: what includes this defines WIDE_TARGET. */
#include "huffman_wide_internal.h"

/* ---- Measuring and encoding ------------------------------------------------------------------------ */

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

/* ---- Decoding -------------------------------------------------------------------------------------- */

TSR_INLINE void refill_fast(uint64_t *window, const uint8_t **at) {
    const unsigned used = tsr_lowest_bit(*window);
    *at += used >> 3;
    *window = (tsr_load64_be(*at) | FRESH) << (used & 7);
}

/*
 * Decodes the strings side by side, so that each hides the others' waiting, as long as all have as many
 * symbols to come as a refill lasts, and as src_end is far from where they read.
 */
TSR_INLINE void decode_fast(const wide_decoder *d, bit_string *strings, int n, const uint8_t *src_end, int width,
                            int table_bits) {
    const size_t n_group = PER_REFILL(table_bits);
    const uint32_t *const table = d->table;
    /* Apart from the rest of the strings, and in unrolled loops, so that compilers keep them in registers. */
    uint64_t window[TSR_CODE_STRINGS];
    const uint8_t *at[TSR_CODE_STRINGS];
    uint8_t *dst[TSR_CODE_STRINGS];
    size_t n_common = SIZE_MAX, i = 0;
    for (int k = 0; k < n; k++) {
        window[k] = strings[k].window;
        at[k] = strings[k].at;
        dst[k] = strings[k].dst;
        if (strings[k].n < n_common) n_common = strings[k].n;
        if (src_end - at[k] < FAST_MARGIN) return;
    }
    const uint8_t *const limit = src_end - FAST_MARGIN;
    for (; n_common - i >= n_group; i += n_group) {
        int near_end = 0;
        TSR_UNROLL
        for (int k = 0; k < n; k++) {
            near_end |= at[k] > limit;
        }
        if (near_end) break;
        TSR_UNROLL
        for (int k = 0; k < n; k++) {
            refill_fast(&window[k], &at[k]);
        }
        TSR_UNROLL
        for (size_t g = 0; g < n_group; g++) {
            TSR_UNROLL
            for (int k = 0; k < n; k++) {
                uint32_t entry = table[window[k] >> (64 - table_bits)];
                if (TSR_UNLIKELY(!(entry & 255))) {
                    refill_fast(&window[k], &at[k]);
                    entry = tsr_code_long_entry(d, window[k]);
                    window[k] <<= entry & 255;
                    refill_fast(&window[k], &at[k]);
                } else {
                    window[k] <<= entry & 255;
                }
                symbol_put(dst[k], i + g, width, entry >> 8);
            }
        }
    }
    for (int k = 0; k < n; k++) {
        strings[k].window = window[k];
        strings[k].at = at[k];
        strings[k].dst += i * (size_t)width;
        strings[k].n -= i;
    }
}

/* ---- Specialised ------------------------------------------------------------------------------------- */

WIDE_TARGET static size_t measure_any(uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words,
                                      const uint8_t *src, size_t n, int width) {
    if (width == 1) return measure(n_bits, words, src, n, 1);
    if (width == 2) return measure(n_bits, words, src, n, 2);
    return measure(n_bits, words, src, n, 4);
}

WIDE_TARGET static void encode_any(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n,
                                   int width) {
    if (width == 1) encode_string(dst, words, src, n, 1);
    else if (width == 2) encode_string(dst, words, src, n, 2);
    else encode_string(dst, words, src, n, 4);
}

WIDE_TARGET static void decode_any(const wide_decoder *d, bit_string *strings, int n, const uint8_t *src_end,
                                   int width) {
#define FAST(strings_n, symbol_width)                                                               \
    do {                                                                                            \
        if (d->table_bits == TABLE_BITS)                                                            \
            decode_fast(d, strings, strings_n, src_end, symbol_width, TABLE_BITS);                  \
        else decode_fast(d, strings, strings_n, src_end, symbol_width, LARGE_TABLE_BITS);           \
    } while (0)
#define FAST_WIDTHS(strings_n)                  \
    do {                                        \
        if (width == 1) FAST(strings_n, 1);     \
        else if (width == 2) FAST(strings_n, 2);\
        else FAST(strings_n, 4);                \
    } while (0)
    if (n == 1) FAST_WIDTHS(1);
    else FAST_WIDTHS(TSR_CODE_STRINGS);
#undef FAST_WIDTHS
#undef FAST
}
