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

/* A code as an encoder's word tells it. */
#define WORD_LENGTH(word) ((unsigned)(word) & 63)

/* ---- Decoders --------------------------------------------------------------------------------------- */

/* A flat table over the next bits answers for the shorter codes, which canonical order puts first; the
 * ranges of the longer ones are searched. The small table stays in a first-level cache. The large one is for codes
 * of which more than one in LONG_SHARE would miss it. */
#define TABLE_BITS 12
#define LARGE_TABLE_BITS 16
#define LONG_SHARE 32
/* Bits that are valid after a refill, and symbols of the table that they suffice for. */
#define REFILL_BITS 56
#define PER_REFILL(table_bits) ((size_t)(REFILL_BITS / (table_bits)))
/* The fast loop refills a string at most twice a symbol beyond the first time, seven bytes each, and loads
 * eight at a time. */
#define FAST_MARGIN ((ptrdiff_t)(7 * (2 * PER_REFILL(TABLE_BITS) + 1) + 8))

typedef struct wide_decoder {
    size_t n;
    int shortest, longest;
    int table_bits;
    /* By length: the smallest window, and the rank of the symbol, of the first code this long or longer. */
    uint64_t start[TSR_CODE_MAX_LENGTH + 2];
    uint32_t rank[TSR_CODE_MAX_LENGTH + 2];
    uint32_t *symbols;                       /* by rank, behind the table */
    uint32_t table[];                        /* symbol << 8 | length; length 0 for longer codes */
} wide_decoder;

/*
 * The window is eight bytes of the string, shifted left by what was used of them. Its lowest bit that is set
 * is not data but the mark behind it: as many zeros follow as bits were used, so nothing else is counted.
 */
typedef struct bit_string {
    uint64_t window;
    const uint8_t *at; /* where the window was loaded */
    const uint8_t *start, *end;
    uint8_t *dst;
    size_t n; /* symbols still to come */
} bit_string;

#define FRESH ((uint64_t)1) /* the mark of a window of which nothing was used */

/* An entry that the table lacks, by the longer codes' ranges. */
uint32_t tsr_code_long_entry(const wide_decoder *d, uint64_t window);

/* ---- Kernels ---------------------------------------------------------------------------------------- */

typedef struct wide_kernels {
    int path;
    /* As tsr_code_measure() and tsr_code_encode_bits(). */
    size_t (*measure)(uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words, const uint8_t *src, size_t n,
                      int width);
    void (*encode_bits)(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n, int width);
    /* Decodes as much of 1 or TSR_CODE_STRINGS strings as lies far enough from src_end. */
    void (*decode_strings)(const wide_decoder *d, bit_string *strings, int n, const uint8_t *src_end, int width);
} wide_kernels;

extern const wide_kernels tsr_code_scalar;
#if TSR_X86
extern const wide_kernels tsr_code_avx2;
#endif

const wide_kernels *tsr_code_active(void);

#endif
