/* Shared by the sources of codes for wide alphabets. */
#ifndef TSR_HUFFMAN_WIDE_INTERNAL_H
#define TSR_HUFFMAN_WIDE_INTERNAL_H

#include "huffman_internal.h"

/* `width` is a constant wherever these are inlined into a loop. */
TSR_INLINE uint32_t symbol_at(const uint8_t *symbols, size_t i, int width) {
    if (width == 1) return symbols[i];
    if (width == 2) return tsr_load16(symbols + 2 * i);
    uint32_t v;
    memcpy(&v, symbols + 4 * i, sizeof v);
    return v;
}

TSR_INLINE void symbol_put(uint8_t *symbols, size_t i, int width, uint32_t symbol) {
    if (width == 1) symbols[i] = (uint8_t)symbol;
    else if (width == 2) tsr_store16(symbols + 2 * i, (uint16_t)symbol);
    else memcpy(symbols + 4 * i, &symbol, sizeof symbol);
}

TSR_INLINE int n_strings(size_t n) { return n < TSR_CODE_STRINGS_MIN ? 1 : TSR_CODE_STRINGS; }

/* Symbols of one string: an equal part, and the last takes the rest. */
TSR_INLINE size_t n_of_string(size_t n, int string) {
    const size_t part = n / (size_t)n_strings(n);
    return string == n_strings(n) - 1 ? n - (size_t)string * part : part;
}

/* Whether the lengths make a complete code of n symbols, or are the one bit of a single one. */
tsr_result tsr_code_check_lengths(const uint32_t n_of_length[TSR_CODE_MAX_LENGTH + 1], size_t n);

#endif
