/* From bytes to LZW codes. */
#include "lzw_internal.h"

/*
 * The table of strings is a hash table with open addressing. An entry holds its key, which is the code of a
 * string and the byte after it, and the code of the longer string; 0 is an empty slot, as no entry has code 0.
 *
 * Where an entry lies does not depend on the code in its key, though, which would be known only after the entry
 * before was found: it follows from the bytes of the string themselves. A string is cut into links of LINK
 * bytes after its first; a slot is hashed from the link's bytes up to the new one, and from the code at which
 * the link began (its base). So all entries that may be met in a link are loaded at once, without waiting for
 * each other, and only the comparison of keys goes from one to the next.
 */
#define LINK 4
#define HASH_FACTOR UINT64_C(0x9E3779B97F4A7C15)

/* The input between two looks at the ratio, in bytes, as Unix `compress` has it. */
#define RATIO_GAP 10000
/* Size of the .Z header, which counts in that ratio. */
#define Z_HEADER 3

/* The fast loop reads a link, and writes a code, by eight bytes. */
#define WORD 8

typedef enum phase { STARTING, RUNNING, ENDING } phase;

struct tsr_lzw_encoder {
    lzw_codes codes;
    uint8_t msb_first, grouped;
    uint8_t wide;        /* entries of 64 bits, 24 of them key and 16 code; else 32 bits, 20 and 12 */
    uint8_t phase;
    uint8_t table_bits;  /* log2 of the number of slots */
    uint8_t n_link;      /* bytes of the link so far; LINK only within a step */
    unsigned width;
    uint32_t full;       /* clear at this size of the table; NO_CODE: never */
    uint32_t next;       /* first code that is free; table_size + 1: no more to come */
    uint32_t event;      /* value of next at which the width or the mode changes */
    uint32_t code;       /* of the string so far; NO_CODE: no byte yet */
    uint32_t base;
    uint32_t link;       /* bytes after the base, the first lowest */
    uint64_t bits;       /* not yet written; the next bit is the lowest, or the highest if msb_first */
    unsigned n_bits;
    uint64_t group_start; /* where codes of this width began, in bytes of output */
    uint64_t n_zeros;    /* bytes to fill up a group, after the bits */
    uint64_t n_in, n_out; /* in earlier calls */
    uint64_t next_check;
    uint64_t ratio;
    uint64_t table[];
};

static unsigned table_bits(const tsr_lzw_dialect *dialect) { return dialect->max_bits + 1u; }

TSR_INLINE unsigned code_bits(int wide) { return wide ? 16 : 12; }

static size_t table_bytes(unsigned table_bits, int wide) { return (size_t)1 << (table_bits + (wide ? 3 : 2)); }

static int is_wide(const tsr_lzw_dialect *dialect) { return dialect->max_bits > 12; }

size_t tsr_lzw_encoder_size(const tsr_lzw_dialect *dialect) {
    return sizeof(tsr_lzw_encoder) + table_bytes(table_bits(dialect), is_wide(dialect));
}

TSR_INLINE uint64_t get_entry(const tsr_lzw_encoder *e, size_t slot, int wide) {
    return wide ? e->table[slot] : ((const uint32_t *)e->table)[slot];
}

TSR_INLINE void set_entry(tsr_lzw_encoder *e, size_t slot, uint64_t entry, int wide) {
    if (wide) e->table[slot] = entry;
    else ((uint32_t *)e->table)[slot] = (uint32_t)entry;
}

/* The slot where the search for a string begins: n bytes after base, 1 to LINK. */
TSR_INLINE size_t home_slot(uint32_t base, uint64_t link, unsigned n, unsigned table_bits) {
    return (size_t)(((link << (64 - 8 * n)) + (base << 8) + n) * HASH_FACTOR >> (64 - table_bits));
}

/* The key is xored away if it is the entry's, and the code is left; else the result is no code. */
TSR_INLINE uint64_t match(uint64_t entry, uint64_t code, uint64_t byte, int wide) {
    return entry ^ ((code << 8 | byte) << code_bits(wide));
}

TSR_INLINE int is_code(uint64_t matched, int wide) { return matched - 1 < ((uint64_t)1 << code_bits(wide)) - 1; }

/* Looks on from *slot; the code found, or 0 with *slot free. */
TSR_INLINE uint32_t probe(const tsr_lzw_encoder *e, size_t *slot, uint32_t code, uint8_t byte, int wide) {
    const size_t mask = ((size_t)1 << e->table_bits) - 1;
    for (;; *slot = (*slot + 1) & mask) {
        const uint64_t entry = get_entry(e, *slot, wide);
        const uint64_t matched = match(entry, code, byte, wide);
        if (is_code(matched, wide)) return (uint32_t)matched;
        if (!entry) return 0;
    }
}

/* ---- Codes and bits ---------------------------------------------------------------------------- */

/* At most 7 bits are in the writer when a step begins, and it adds three codes at the most. */
static void put(tsr_lzw_encoder *e, uint32_t code) {
    e->bits |= (uint64_t)code << (e->msb_first ? 64 - e->n_bits - e->width : e->n_bits);
    e->n_bits += e->width;
}

/* Groups: codes of another width begin at a multiple of eight codes of this one. */
static void end_width(tsr_lzw_encoder *e, uint64_t n_out) {
    if (!e->grouped) return;
    const uint64_t n_codes_bytes = n_out + (e->n_bits + 7) / 8 - e->group_start;
    e->n_zeros = (e->width - n_codes_bytes % e->width) % e->width;
    e->n_bits = (e->n_bits + 7) & ~7u;
    e->group_start += n_codes_bytes + e->n_zeros;
}

static void set_event(tsr_lzw_encoder *e) {
    const uint32_t table_size = e->codes.table_size;
    e->event = e->width < e->codes.width_last ? (1u << e->width) + 1 - e->codes.early : NO_CODE;
    if (e->next < e->full && e->full < e->event) e->event = e->full;
    if (e->next < table_size && table_size < e->event) e->event = table_size;
}

static void empty_table(tsr_lzw_encoder *e) {
    memset(e->table, 0, table_bytes(e->table_bits, e->wide));
    e->next = e->codes.first_free;
    e->width = e->codes.width_first;
    set_event(e);
}

static void clear(tsr_lzw_encoder *e, uint64_t n_out) {
    put(e, e->codes.clear);
    end_width(e, n_out);
    empty_table(e);
}

/* What is due as the table has grown. */
static void follow_table(tsr_lzw_encoder *e, uint64_t n_out) {
    if (e->next == e->full) {
        clear(e, n_out);
        return;
    }
    if (e->next + e->codes.early > 1u << e->width && e->width < e->codes.width_last) {
        end_width(e, n_out);
        e->width++;
    }
    set_event(e);
}

/* .Z: once the table is full, empty it when it no longer suits the data. */
static void check_ratio(tsr_lzw_encoder *e, uint64_t n_in, uint64_t n_out) {
    e->next_check = n_in + RATIO_GAP;
    const uint64_t n_written = Z_HEADER + n_out + e->n_bits / 8;
    /* In 1/256; `compress` divides large numbers otherwise as they were once 32 bits wide. */
    const uint64_t ratio = n_in > 0x7FFFFF ? n_in / (n_written >> 8) : (n_in << 8) / n_written;
    if (ratio >= e->ratio) {
        e->ratio = ratio;
    } else {
        e->ratio = 0;
        clear(e, n_out);
    }
}

void tsr_lzw_encoder_init(tsr_lzw_encoder *e, const tsr_lzw_dialect *dialect) {
    memset(e, 0, sizeof *e);
    e->codes = tsr_lzw_codes(dialect);
    e->msb_first = dialect->msb_first;
    e->grouped = dialect->grouped;
    e->wide = (uint8_t)is_wide(dialect);
    e->table_bits = (uint8_t)table_bits(dialect);
    /* libtiff's table counts as full here, and every reader copes with that. */
    e->full = dialect->end_code ? e->codes.table_size - 2 : NO_CODE;
    e->code = NO_CODE;
    e->next_check = dialect->grouped && dialect->clear_code ? RATIO_GAP : UINT64_MAX;
}

/* ---- Strings ------------------------------------------------------------------------------------- */

static void start_string(tsr_lzw_encoder *e, uint8_t byte) {
    e->code = e->base = byte;
    e->link = 0;
    e->n_link = 0;
}

static void put_string(tsr_lzw_encoder *e) {
    put(e, e->code);
    if (e->next <= e->codes.table_size) e->next++;
}

/* One byte, with no eye to speed. */
static void step(tsr_lzw_encoder *e, uint8_t byte, uint64_t n_out) {
    if (e->code == NO_CODE) {
        start_string(e, byte);
        return;
    }
    e->link |= (uint32_t)byte << 8 * e->n_link;
    e->n_link++;
    size_t slot = home_slot(e->base, e->link, e->n_link, e->table_bits);
    const uint32_t longer = probe(e, &slot, e->code, byte, e->wide);
    if (longer) {
        e->code = longer;
        if (e->n_link == LINK) {
            e->base = longer;
            e->link = 0;
            e->n_link = 0;
        }
        return;
    }
    if (e->next < e->codes.table_size) {
        const uint64_t key = (uint64_t)e->code << 8 | byte;
        set_entry(e, slot, key << code_bits(e->wide) | e->next, e->wide);
    }
    put_string(e);
    start_string(e, byte);
    if (e->next >= e->event) follow_table(e, n_out);
}

typedef struct cursor {
    const uint8_t *src;
    uint8_t *dst;
} cursor;

/*
 * The same for many bytes, while there are eight bytes to read and to write. It begins where a link does, and
 * ends there too. New strings begin before `src_stop` only.
 */
TSR_INLINE cursor run(tsr_lzw_encoder *e, cursor at, const uint8_t *src_last, const uint8_t *dst_last, int msb_first,
                      int wide) {
    const uint8_t *src = at.src;
    uint8_t *dst = at.dst;
    uint32_t base = e->code;
    const unsigned width = e->width, bits_of_table = e->table_bits;
    const uint32_t event = e->event;
    const int adding = e->next < e->codes.table_size;
    const uint64_t no_literal = (uint64_t)(0xFF & ~(e->codes.n_literals - 1)) * UINT64_C(0x0101010101010101);
    uint32_t next = e->next;
    uint64_t bits = e->bits;
    unsigned n_bits = e->n_bits;

    while (src <= src_last && dst <= dst_last) {
        uint64_t bytes;
        memcpy(&bytes, src, sizeof bytes);
        if (TSR_UNLIKELY(bytes & no_literal)) break;
        size_t slot;
        uint32_t code = base;
        unsigned n = 0;
        for (;;) {
            const uint8_t byte = (uint8_t)(bytes >> 8 * n);
            slot = home_slot(base, bytes, n + 1, bits_of_table);
            const uint32_t longer = probe(e, &slot, code, byte, wide);
            if (!longer) break;
            code = longer;
            if (++n == LINK) break;
        }
        if (n == LINK) {
            base = code;
            src += LINK;
            continue;
        }
        const uint8_t byte = (uint8_t)(bytes >> 8 * n);
        if (adding) {
            set_entry(e, slot, ((uint64_t)code << 8 | byte) << code_bits(wide) | next, wide);
            next++;
        }
        src += n + 1;
        base = byte;
        n_bits += width;
        if (msb_first) {
            bits |= (uint64_t)code << (64 - n_bits);
            tsr_store64_be(dst, bits);
            bits <<= n_bits & ~7u;
        } else {
            bits |= (uint64_t)code << (n_bits - width);
            memcpy(dst, &bits, sizeof bits);
            bits >>= n_bits & ~7u;
        }
        dst += n_bits >> 3;
        n_bits &= 7;
        if (TSR_UNLIKELY(next >= event)) break;
    }
    e->code = e->base = base;
    e->next = next;
    e->bits = bits;
    e->n_bits = n_bits;
    return (cursor){src, dst};
}

/* Between links, and not at the one code after which a full table's `next` moves for the last time. */
static int can_run(const tsr_lzw_encoder *e) {
    return e->code != NO_CODE && e->n_link == 0 && e->next != e->codes.table_size;
}

static cursor run_any(tsr_lzw_encoder *e, cursor at, const uint8_t *src_last, const uint8_t *dst_last) {
    if (e->wide) {
        return e->msb_first ? run(e, at, src_last, dst_last, 1, 1) : run(e, at, src_last, dst_last, 0, 1);
    }
    return e->msb_first ? run(e, at, src_last, dst_last, 1, 0) : run(e, at, src_last, dst_last, 0, 0);
}

/* Writes the whole bytes there are, or at the end all bits; 1 if dst has room for them. */
static int flush(tsr_lzw_encoder *e, uint8_t **dst, const uint8_t *dst_end) {
    const unsigned n_kept = e->phase == ENDING ? 0 : 7;
    while (e->n_bits > n_kept) {
        if (*dst == dst_end) return 0;
        *(*dst)++ = (uint8_t)(e->msb_first ? e->bits >> 56 : e->bits);
        e->bits = e->msb_first ? e->bits << 8 : e->bits >> 8;
        e->n_bits -= e->n_bits < 8 ? e->n_bits : 8;
    }
    for (; e->n_zeros; e->n_zeros--) {
        if (*dst == dst_end) return 0;
        *(*dst)++ = 0;
    }
    return 1;
}

tsr_result tsr_lzw_encode(tsr_lzw_encoder *e, uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len,
                          int finish, tsr_lzw_progress *progress) {
    cursor at = {src, dst};
    const uint8_t *dst_end = dst_len ? dst + dst_len : dst;
    tsr_result result = TSR_OK;
    progress->status = TSR_LZW_OUTPUT_FULL;
    while (flush(e, &at.dst, dst_end)) {
        const size_t n_left = src_len - (size_t)(at.src - src);
        const size_t n_room = dst_len - (size_t)(at.dst - dst);
        const uint64_t n_in = e->n_in + (src_len - n_left), n_out = e->n_out + (dst_len - n_room);
        const int is_full = e->next >= e->codes.table_size;
        if (e->phase == ENDING) {
            progress->status = TSR_LZW_END;
            break;
        }
        if (e->phase == STARTING) {
            empty_table(e);
            if (e->codes.end != NO_CODE) put(e, e->codes.clear);
            e->phase = RUNNING;
        } else if (n_left == 0 && !finish) {
            progress->status = TSR_LZW_NEED_INPUT;
            break;
        } else if (n_left == 0 && e->code != NO_CODE) {
            put_string(e);
            e->code = NO_CODE;
            if (e->codes.end != NO_CODE && e->next >= e->event) follow_table(e, n_out);
        } else if (n_left == 0) {
            if (e->codes.end != NO_CODE) put(e, e->codes.end);
            e->phase = ENDING;
        } else if (*at.src >= e->codes.n_literals) {
            result = TSR_ERR_LZW_SYMBOL;
            break;
        } else if (is_full && n_in >= e->next_check && e->code < e->codes.n_literals) {
            check_ratio(e, n_in, n_out);
        } else {
            const uint8_t *before = at.src;
            if (n_left >= WORD && n_room >= WORD && can_run(e) && !(is_full && n_in >= e->next_check)) {
                size_t reach = n_left - WORD;
                if (is_full && e->next_check - n_in <= reach) reach = (size_t)(e->next_check - n_in) - 1;
                at = run_any(e, at, at.src + reach, dst_end - WORD);
                if (e->next >= e->event) follow_table(e, e->n_out + (size_t)(at.dst - dst));
            }
            if (at.src == before) step(e, *at.src++, n_out);
        }
    }
    progress->n_read = (size_t)(at.src - src);
    progress->n_written = (size_t)(at.dst - dst);
    e->n_in += progress->n_read;
    e->n_out += progress->n_written;
    return result;
}

size_t tsr_lzw_encode_bound(const tsr_lzw_dialect *dialect, size_t src_len) {
    const lzw_codes codes = tsr_lzw_codes(dialect);
    const uint32_t full = codes.table_size - 2;
    const size_t width = codes.width_last;
    /* Each byte a code, all of the last width, clear codes between tables, two control codes at the ends. */
    size_t n_codes = src_len + 2;
    if (codes.end != NO_CODE && full > codes.first_free) n_codes += src_len / (full - codes.first_free);
    size_t n_bytes = 0;
    if (dialect->grouped) {
        /* A clear code for each look at the ratio, and each width's last group filled up. */
        const size_t n_tables = 1 + src_len / RATIO_GAP;
        n_codes += n_tables;
        n_bytes = n_tables * width * width;
    }
    return n_bytes + n_codes / 8 * width + width;
}
