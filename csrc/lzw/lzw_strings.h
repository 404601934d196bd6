/* The encoder's state, and the two tables of strings that it can have. */
#ifndef TSR_LZW_STRINGS_H
#define TSR_LZW_STRINGS_H

#include "lzw_internal.h"

/* Input is read, and codes are written, by so many bytes. */
#define WORD 8

/* A string that the input goes on with. */
typedef struct string {
    uint32_t code;   /* NO_CODE: no byte yet */
    uint32_t base;
    uint64_t head;   /* bytes of the last group, the first lowest */
    unsigned n_head; /* their number; narrow tables do not have groups, but tell single bytes from others by it */
} string;

TSR_INLINE string single(uint8_t byte) { return (string){byte, 0, byte, 1}; }

TSR_INLINE int is_single(const string *s) { return s->base == 0 && s->n_head == 1; }

struct tsr_lzw_encoder {
    lzw_codes codes;
    uint8_t msb_first, grouped;
    uint8_t wide;         /* which table of strings it is */
    uint8_t phase;
    unsigned hash_shift;  /* wide: 65 - log2 of the number of slots: leaves the number of a pair of slots */
    uint32_t stamp;       /* narrow: of the entries that are valid */
    int is_regular;       /* narrow: whether the last strings ended after about every byte, or hardly ever */
    unsigned width;
    uint32_t full;        /* clear at this size of the table; NO_CODE: never */
    uint32_t next;        /* first code that is free; table_size + 1: no more to come */
    uint32_t event;       /* value of next at which the width or the mode changes */
    string string;
    uint64_t bits;        /* not yet written; the next bit is the lowest, or the highest if msb_first */
    unsigned n_bits;
    uint64_t group_start; /* where codes of this width began, in bytes of output */
    uint64_t n_zeros;     /* bytes to fill up a group, after the bits */
    uint64_t n_in, n_out; /* in earlier calls */
    uint64_t next_check;
    uint64_t ratio;
    uint64_t table[];     /* what it holds is up to the kind of table */
};

TSR_INLINE int is_adding(const tsr_lzw_encoder *e) { return e->next < e->codes.table_size; }

/* Tables of up to 2^12 codes, and of more. */
TSR_INLINE int is_wide(const tsr_lzw_dialect *dialect) { return dialect->max_bits > 12; }

/* Bytes that a table takes. */
size_t tsr_lzw_narrow_size(const tsr_lzw_dialect *dialect);
size_t tsr_lzw_wide_size(const tsr_lzw_dialect *dialect);

void tsr_lzw_narrow_init(tsr_lzw_encoder *e);
void tsr_lzw_wide_init(tsr_lzw_encoder *e);

/* Takes all strings out. */
void tsr_lzw_narrow_clear(tsr_lzw_encoder *e);
void tsr_lzw_wide_clear(tsr_lzw_encoder *e);

/* One byte, with no eye to speed. 1 if it ended the string; the longer one is then added, if there is room. */
int tsr_lzw_narrow_step(tsr_lzw_encoder *e, string *s, uint8_t byte);
int tsr_lzw_wide_step(tsr_lzw_encoder *e, string *s, uint8_t byte);

/*
 * Finds up to n_max strings and returns their number. *src_at is behind the first byte of the first one; it moves
 * on to behind the bytes so far of *s, the string that has not come to its end. Eight bytes from *src_at - 1 on
 * must be readable, for each place up to src_last.
 */
size_t tsr_lzw_narrow_find(tsr_lzw_encoder *e, string *s, uint16_t *TSR_RESTRICT strings, size_t n_max,
                           const uint8_t **src_at, const uint8_t *src_last);
size_t tsr_lzw_wide_find(tsr_lzw_encoder *e, string *s, uint16_t *TSR_RESTRICT strings, size_t n_max,
                         const uint8_t **src_at, const uint8_t *src_last);

#endif
