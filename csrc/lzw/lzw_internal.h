/* What follows from a dialect, for decoder and encoder. */
#ifndef TSR_LZW_INTERNAL_H
#define TSR_LZW_INTERNAL_H

#include "tersor.h"
#include "tsr_bits.h"

/* No code: neither a dialect's missing clear or end code, nor a previous string right after a clear. */
#define NO_CODE UINT32_MAX

typedef struct lzw_codes {
    uint32_t n_literals;
    uint32_t clear, end;  /* NO_CODE where the dialect has none */
    uint32_t first_free;  /* the codes from n_literals to here are control codes */
    uint32_t table_size;  /* codes from here on never get a string */
    unsigned width_first; /* of codes, in bits: at first and after a clear */
    unsigned width_last;
    unsigned early;
} lzw_codes;

TSR_INLINE lzw_codes tsr_lzw_codes(const tsr_lzw_dialect *dialect) {
    const uint32_t n_literals = 1u << dialect->literal_bits;
    lzw_codes codes;
    codes.n_literals = n_literals;
    codes.clear = dialect->clear_code ? n_literals : NO_CODE;
    codes.end = dialect->end_code ? n_literals + 1 : NO_CODE;
    codes.first_free = n_literals + dialect->clear_code + dialect->end_code;
    codes.table_size = 1u << dialect->max_bits;
    codes.width_first = dialect->literal_bits + 1u;
    codes.width_last = dialect->max_bits + (unsigned)dialect->full_grows;
    codes.early = dialect->early_change;
    return codes;
}

/* The width of codes once the decoder's table has `next` codes: the same unless they no longer fit. */
TSR_INLINE unsigned tsr_lzw_width(const lzw_codes *codes, unsigned width, uint32_t next) {
    return width + (next + codes->early >= 1u << width && width < codes->width_last);
}

/* lzw_decode.c: whether all that a decoder was given is used but for zero bits that fill up the last byte. */
int tsr_lzw_decoder_is_spent(const tsr_lzw_decoder *decoder);

#endif
