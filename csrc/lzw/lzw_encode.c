/* From bytes to LZW codes. */
#include "lzw_strings.h"

/* Strings found in one go before their codes are written. */
#define STRINGS_MAX 512

/* The input between two looks at the ratio, in bytes, as Unix `compress` has it. */
#define RATIO_GAP 10000
/* Size of the .Z header, which counts in that ratio. */
#define Z_HEADER 3

typedef enum phase { STARTING, RUNNING, ENDING } phase;

size_t tsr_lzw_encoder_size(const tsr_lzw_dialect *dialect) {
    return sizeof(tsr_lzw_encoder) + (is_wide(dialect) ? tsr_lzw_wide_size(dialect) : tsr_lzw_narrow_size(dialect));
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
    if (e->wide)
        tsr_lzw_wide_clear(e);
    else
        tsr_lzw_narrow_clear(e);
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
    if (e->wide)
        tsr_lzw_wide_init(e);
    else
        tsr_lzw_narrow_init(e);
    /* libtiff's table counts as full here, and every reader copes with that. */
    e->full = dialect->end_code ? e->codes.table_size - 2 : NO_CODE;
    e->string.code = NO_CODE;
    e->next_check = dialect->grouped && dialect->clear_code ? RATIO_GAP : UINT64_MAX;
}

/* ---- Strings ------------------------------------------------------------------------------------- */

static void put_string(tsr_lzw_encoder *e) {
    put(e, e->string.code);
    if (e->next <= e->codes.table_size) e->next++;
}

static void step(tsr_lzw_encoder *e, uint8_t byte, uint64_t n_out) {
    if (e->string.code != NO_CODE) {
        if (!(e->wide ? tsr_lzw_wide_step(e, &e->string, byte) : tsr_lzw_narrow_step(e, &e->string, byte))) return;
        put_string(e);
        if (e->next >= e->event) follow_table(e, n_out);
    }
    e->string = single(byte);
}

/* Writes strings; the eight bytes from where each one begins in dst are writable. */
TSR_INLINE uint8_t *put_strings(tsr_lzw_encoder *e, uint8_t *dst, const uint16_t *strings, size_t n,
                                int msb_first) {
    const unsigned width = e->width;
    uint64_t bits = e->bits;
    unsigned n_bits = e->n_bits;
    size_t i = 0;
    while (i < n) {
        uint64_t joined = strings[i];
        unsigned n_joined = width;
        if (i + 3 <= n) {
            const uint64_t b = strings[i + 1], c = strings[i + 2];
            joined = msb_first ? (joined << width | b) << width | c : (c << width | b) << width | joined;
            n_joined = 3 * width;
            i += 2;
        }
        i++;
        if (msb_first) {
            bits |= joined << (64 - n_bits - n_joined);
            n_bits += n_joined;
            tsr_store64_be(dst, bits);
            bits <<= n_bits & ~7u;
        } else {
            bits |= joined << n_bits;
            n_bits += n_joined;
            memcpy(dst, &bits, sizeof bits);
            bits >>= n_bits & ~7u;
        }
        dst += n_bits >> 3;
        n_bits &= 7;
    }
    e->bits = bits;
    e->n_bits = n_bits;
    return dst;
}

typedef struct cursor {
    const uint8_t *src;
    uint8_t *dst;
} cursor;

/* The bulk of the work: strings that begin in src, up to src_last. Stops at dst_last too, and when something is
 * due because the table has grown. */
static cursor run(tsr_lzw_encoder *e, cursor at, const uint8_t *src_last, const uint8_t *dst_last) {
    uint16_t strings[STRINGS_MAX];
    while (at.src <= src_last && at.dst <= dst_last && e->next < e->event && is_single(&e->string)) {
        size_t n_max = (size_t)(dst_last - at.dst) / sizeof *strings + 1;
        if (n_max > STRINGS_MAX) n_max = STRINGS_MAX;
        if (n_max > e->event - e->next) n_max = e->event - e->next;
        string s;
        const size_t n = e->wide ? tsr_lzw_wide_find(e, &s, strings, n_max, &at.src, src_last)
                                 : tsr_lzw_narrow_find(e, &s, strings, n_max, &at.src, src_last);
        e->string = s;
        at.dst = e->msb_first ? put_strings(e, at.dst, strings, n, 1) : put_strings(e, at.dst, strings, n, 0);
        if (n == 0) break;
    }
    return at;
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
        } else if (n_left == 0 && e->string.code != NO_CODE) {
            put_string(e);
            e->string.code = NO_CODE;
            if (e->codes.end != NO_CODE && e->next >= e->event) follow_table(e, n_out);
        } else if (n_left == 0) {
            if (e->codes.end != NO_CODE) put(e, e->codes.end);
            e->phase = ENDING;
        } else if (*at.src >= e->codes.n_literals) {
            result = TSR_ERR_LZW_SYMBOL;
            break;
        } else if (is_full && n_in >= e->next_check && is_single(&e->string)) {
            check_ratio(e, n_in, n_out);
        } else {
            const uint8_t *before = at.src;
            /* The last byte must be a string's first and in src; and a full table's `next` moves once more. */
            const int ready = at.src > src && is_single(&e->string) && e->next != e->codes.table_size;
            if (ready && n_left >= WORD - 1 && n_room >= WORD) {
                size_t reach = n_left - (WORD - 1);
                if (is_full && e->next_check - n_in <= reach) reach = (size_t)(e->next_check - n_in) - 1;
                at = run(e, at, at.src + reach, dst_end - WORD);
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
