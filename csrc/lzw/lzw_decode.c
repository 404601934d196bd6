/*
 * LZW decoding. decode() knows the dialects (widths, control codes, padding, errors, input and output cut
 * anywhere); it takes one code at a time and hands stretches in which nothing of that happens to a fast loop.
 * Under it are two ways to keep strings:
 *
 *   whole   All output lies in one piece, so a string is a place in it: a new one is where the previous string
 *           began, with its length + 1.
 *   chunks  For streaming. A string is its last 1 to 8 bytes and the code of what precedes them. It is written
 *           from its end to its beginning, where its first byte comes up.
 *
 * Either way the new string is in the table before the code that completes it is looked up, as that code may be
 * its own.
 */
#include "lzw_internal.h"

#define CHUNK 8
/* Bytes that the loop for whole output copies before it looks at the length. */
#define BLOCK 16
/* Lengths of control codes, which so leave the fast loops by their branch for long strings. */
#define NO_LENGTH 0xFFFFu

struct tsr_lzw_decoder {
    lzw_codes codes;
    uint8_t msb_first, grouped;
    uint8_t started, ended;
    unsigned width;
    uint32_t next;       /* the code of the string that is being made; table_size when the table is full */
    unsigned n_at_width; /* codes read since the width began, modulo 8 */
    size_t n_skip;       /* bytes of padding to skip */
    uint32_t bits;       /* read and not used yet: the lower n_bits */
    unsigned n_bits;
    uint32_t previous; /* the code whose string the next one completes to a new string; or NO_CODE */
    uint32_t previous_length;
    /* What did not fit of the last string: its place in the output (whole) or in the tail (chunks). */
    uint32_t n_rest;
    size_t rest_at;
    /* Whole: places in the output. Those in the table are counted from the last clear, `origin`, and fit in 32
     * bits: 2^16 strings of less than 2^16 bytes fill a table. */
    size_t origin;
    size_t previous_at;
    /* Chunks: the previous string as another byte is appended to it, and its first byte. */
    uint64_t open_chunk;
    uint32_t open_prefix;
    uint8_t first_byte;
    /* table_size + 1 entries: place << 32 | length (whole) or the last chunk. For chunks, after them: as many
     * links, prefix << 16 | length, and the tail, in which a string is put together that may not fit. */
    uint64_t table[];
};

typedef struct lzw_io {
    const uint8_t *src, *src_begin, *src_end;
    uint8_t *dst;
    size_t at, dst_len;
} lzw_io;

/* ---- Codes from bits ------------------------------------------------------------------------------------ */

TSR_INLINE int fill_bits(tsr_lzw_decoder *d, lzw_io *io) {
    for (; d->n_bits < d->width; d->n_bits += 8) {
        if (io->src == io->src_end) return 0;
        if (d->msb_first)
            d->bits = d->bits << 8 | *io->src++;
        else
            d->bits |= (uint32_t)*io->src++ << d->n_bits;
    }
    return 1;
}

TSR_INLINE uint32_t peek_code(const tsr_lzw_decoder *d) {
    const uint32_t bits = d->msb_first ? d->bits >> (d->n_bits - d->width) : d->bits;
    return bits & ((1u << d->width) - 1);
}

TSR_INLINE void drop_code(tsr_lzw_decoder *d) {
    d->n_bits -= d->width;
    d->bits = d->msb_first ? d->bits & ((1u << d->n_bits) - 1) : d->bits >> d->width;
    d->n_at_width = (d->n_at_width + 1) % 8;
}

/* Where the next code begins in src, in bits: below 0 if in what an earlier call read. */
TSR_INLINE ptrdiff_t bit_position(const tsr_lzw_decoder *d, const lzw_io *io) {
    return 8 * (io->src - io->src_begin) - (ptrdiff_t)d->n_bits;
}

static void set_bit_position(tsr_lzw_decoder *d, lzw_io *io, size_t bit) {
    io->src = io->src_begin + (bit + 7) / 8;
    d->n_bits = (unsigned)(-bit & 7);
    d->bits = 0;
    const uint32_t last = d->n_bits ? io->src[-1] : 0;
    d->bits = d->msb_first ? last & ((1u << d->n_bits) - 1) : last >> (8 - d->n_bits);
}

/* Ends a width: grouped dialects fill up its last eight codes. Fewer than 8 bits are in hand here. */
static void set_width(tsr_lzw_decoder *d, unsigned width) {
    if (d->grouped && d->n_at_width) {
        d->n_skip = ((8 - d->n_at_width) * d->width - d->n_bits) / 8;
        d->n_bits = 0;
        d->bits = 0;
    }
    d->n_at_width = 0;
    d->width = width;
}

/* ---- Strings as places in the output -------------------------------------------------------------------- */

static const uint8_t literal_bytes[256 + BLOCK] = {
#define ROW(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
#define ROWS(n) ROW(n), ROW(n + 8), ROW(n + 16), ROW(n + 24), ROW(n + 32), ROW(n + 40), ROW(n + 48), ROW(n + 56)
    ROWS(0), ROWS(64), ROWS(128), ROWS(192)
#undef ROWS
#undef ROW
};

TSR_INLINE void copy_block(uint8_t *dst, const uint8_t *src) {
    uint8_t block[BLOCK];
    memcpy(block, src, BLOCK);
    memcpy(dst, block, BLOCK);
}

static void whole_start(tsr_lzw_decoder *d, size_t at) {
    d->origin = at;
    for (uint32_t c = 0; c < d->codes.n_literals; c++) d->table[c] = (uint64_t)c << 32 | 1;
    for (uint32_t c = d->codes.n_literals; c < d->codes.first_free; c++) d->table[c] = NO_LENGTH;
}

static void whole_write_rest(tsr_lzw_decoder *d, lzw_io *io) {
    /* Byte by byte, since a string that begins with the previous one may overlap its copy. */
    for (; d->n_rest && io->at < io->dst_len; d->n_rest--) io->dst[io->at++] = io->dst[d->rest_at++];
}

static void whole_write(tsr_lzw_decoder *d, lzw_io *io, uint32_t code) {
    if (d->previous != NO_CODE)
        d->table[d->next] = (uint64_t)(d->previous_at - d->origin) << 32 | (d->previous_length + 1);
    d->previous_at = io->at;
    if (code < d->codes.n_literals) {
        io->dst[io->at++] = (uint8_t)code;
        d->previous_length = 1;
    } else {
        d->rest_at = d->origin + (size_t)(d->table[code] >> 32);
        d->previous_length = d->n_rest = (uint32_t)d->table[code];
        whole_write_rest(d, io);
    }
}

/* Decodes up to n_codes codes while they are strings of the table and nothing is near an end. */
TSR_INLINE size_t whole_loop(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes, const int msb_first,
                             const unsigned width) {
    const unsigned n_window = width <= 14 ? 4 : 3; /* codes in a window of 64 bits, of which up to 7 are gone */
    const size_t margin = n_window * BLOCK, n_before = n_codes;
    const uint32_t n_literals = d->codes.n_literals, n_new = d->next < d->codes.table_size, step = n_new * n_window;
    uint64_t *const table = d->table;
    const uint8_t *const src = io->src_begin;
    uint8_t *const base = io->dst + d->origin;
    uint32_t next = d->next;
    size_t at = io->at - d->origin;
    const size_t end = io->dst_len - d->origin;
    uint64_t open = (uint64_t)(d->previous_at - d->origin) << 32 | (d->previous_length + 1);
    size_t bit = (size_t)bit_position(d, io);
    const size_t src_len = (size_t)(io->src_end - src);

    while (n_codes >= n_window && bit / 8 + 8 <= src_len && end - at >= margin) {
        uint64_t window = msb_first ? tsr_load64_be(src + bit / 8) << (bit & 7) : tsr_load64(src + bit / 8) >> (bit & 7);
#pragma GCC unroll 4
        for (unsigned k = 0; k < n_window; k++) {
            const uint32_t code = (uint32_t)(msb_first ? window >> (64 - width) : window & ((1u << width) - 1));
            window = msb_first ? window << width : window >> width;
            table[next + k] = open;
            if (TSR_UNLIKELY(code >= next + k)) {
                if (code > next + k || !n_new) {
                    bit += k * width;
                    n_codes -= k;
                    next += n_new * k;
                    goto out;
                }
                base[at] = base[open >> 32];
            }
            const uint64_t entry = table[code];
            const uint8_t *from = (code < n_literals ? literal_bytes : base) + (entry >> 32);
            const size_t n = (uint32_t)entry;
            if (TSR_UNLIKELY(n > BLOCK)) {
                if (code - n_literals < d->codes.first_free - n_literals || end - at < n + margin) {
                    bit += k * width;
                    n_codes -= k;
                    next += n_new * k;
                    goto out;
                }
                uint8_t *dst = base + at;
                for (size_t i = BLOCK; i < n; i += BLOCK) {
                    copy_block(dst + i - BLOCK, from);
                    from += BLOCK;
                }
                copy_block(dst + (n - 1) / BLOCK * BLOCK, from);
            } else
            copy_block(base + at, from);
            open = (((uint64_t)at << 32) + 1) + n;
            at += n;
        }
        bit += n_window * width;
        n_codes -= n_window;
        next += step;
    }
out:
    d->next = next;
    d->previous_at = d->origin + (size_t)(open>>32);
    d->previous_length = (uint32_t)open - 1;
    io->at = d->origin + at;
    set_bit_position(d, io, bit);
    return n_before - n_codes;
}

/* ---- Strings as chunks ---------------------------------------------------------------------------------- */

TSR_INLINE uint32_t *links_of(tsr_lzw_decoder *d) { return (uint32_t *)(d->table + d->codes.table_size + 4); }

TSR_INLINE uint8_t *tail_of(tsr_lzw_decoder *d) { return (uint8_t *)(links_of(d) + d->codes.table_size + 4); }

static void chunks_start(tsr_lzw_decoder *d) {
    uint32_t *links = links_of(d);
    for (uint32_t c = 0; c < d->codes.n_literals; c++) {
        d->table[c] = c;
        links[c] = 1;
    }
    for (uint32_t c = d->codes.n_literals; c < d->codes.first_free; c++) links[c] = NO_LENGTH;
}

static void chunks_write_rest(tsr_lzw_decoder *d, lzw_io *io) {
    const size_t room = io->dst_len - io->at, n = d->n_rest < room ? d->n_rest : room;
    if (n) memcpy(io->dst + io->at, tail_of(d) + d->rest_at, n);
    io->at += n;
    d->rest_at += n;
    d->n_rest -= (uint32_t)n;
}

/* Writes a string of n bytes, and up to a chunk's end; returns its first chunk. */
TSR_INLINE uint64_t write_chunks(uint8_t *dst, const uint64_t *table, const uint32_t *links, uint32_t code, size_t n) {
    uint64_t chunk = table[code];
    for (size_t i = (n - 1) / CHUNK * CHUNK;; i -= CHUNK) {
        memcpy(dst + i, &chunk, CHUNK);
        if (i == 0) return chunk;
        code = links[code] >> 16;
        chunk = table[code];
    }
}

static void chunks_write(tsr_lzw_decoder *d, lzw_io *io, uint32_t code) {
    uint32_t *links = links_of(d);
    const unsigned n_open = 8 * (d->previous_length % CHUNK);
    if (d->previous != NO_CODE) {
        d->table[d->next] = d->open_chunk | (uint64_t)d->first_byte << n_open;
        links[d->next] = d->open_prefix << 16 | (d->previous_length + 1);
    }
    const uint32_t n = links[code] & 0xFFFF;
    d->first_byte = (uint8_t)write_chunks(tail_of(d), d->table, links, code, n);
    if (d->previous != NO_CODE) d->table[d->next] = d->open_chunk | (uint64_t)d->first_byte << n_open;
    d->open_chunk = n % CHUNK ? d->table[code] : 0;
    d->open_prefix = n % CHUNK ? links[code] >> 16 : code;
    d->previous_length = d->n_rest = n;
    d->rest_at = 0;
    chunks_write_rest(d, io);
}

TSR_INLINE size_t chunks_loop(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes, const int msb_first,
                              const unsigned width) {
    const unsigned n_window = width <= 14 ? 4 : 3;
    const size_t margin = n_window * CHUNK, n_before = n_codes;
    const uint32_t n_literals = d->codes.n_literals, n_new = d->next < d->codes.table_size, step = n_new * n_window;
    uint64_t *const table = d->table;
    uint32_t *const links = links_of(d);
    const uint8_t *const src = io->src_begin;
    uint8_t *dst = io->dst + io->at, *const dst_end = io->dst + io->dst_len;
    uint32_t next = d->next;
    uint64_t open_chunk = d->open_chunk, first = d->first_byte;
    unsigned n_open = 8 * (d->previous_length % CHUNK);
    uint32_t open_link = d->open_prefix << 16 | (d->previous_length + 1);
    size_t bit = (size_t)bit_position(d, io);
    const size_t src_len = (size_t)(io->src_end - src);

    while (n_codes >= n_window && bit / 8 + 8 <= src_len && (size_t)(dst_end - dst) >= margin) {
        uint64_t window = msb_first ? tsr_load64_be(src + bit / 8) << (bit & 7) : tsr_load64(src + bit / 8) >> (bit & 7);
#pragma GCC unroll 4
        for (unsigned k = 0; k < n_window; k++) {
            const uint32_t code = (uint32_t)(msb_first ? window >> (64 - width) : window & ((1u << width) - 1));
            window = msb_first ? window << width : window >> width;
            links[next + k] = open_link;
            if (TSR_UNLIKELY(code >= next + k)) {
                if (code > next + k || !n_new) {
                    bit += k * width;
                    n_codes -= k;
                    next += n_new * k;
                    goto out;
                }
                table[next + k] = open_chunk | first << n_open;
            }
            const uint64_t chunk = table[code];
            const uint32_t link = links[code];
            const uint32_t n = link & 0xFFFF;
            if (TSR_UNLIKELY(n >= CHUNK)) {
                if (code - n_literals < d->codes.first_free - n_literals || (size_t)(dst_end - dst) < n + margin) {
                    bit += k * width;
                    n_codes -= k;
                    next += n_new * k;
                    goto out;
                }
                first = (uint8_t)write_chunks(dst, table, links, code, n);
                table[next + k] = open_chunk | first << n_open;
                open_chunk = n % CHUNK ? chunk : 0;
                open_link = n % CHUNK ? link + 1 : code << 16 | (n + 1);
                n_open = 8 * (n % CHUNK);
            } else {
                memcpy(dst, &chunk, CHUNK);
                first = (uint8_t)chunk;
                table[next + k] = open_chunk | first << n_open;
                open_chunk = chunk;
                open_link = link + 1;
                n_open = 8 * n;
            }
            dst += n;
        }
        bit += n_window * width;
        n_codes -= n_window;
        next += step;
    }
out:
    d->next = next;
    d->previous_length = (open_link - 1) & 0xFFFF;
    d->open_chunk = open_chunk;
    d->open_prefix = open_link >> 16;
    d->first_byte = (uint8_t)first;
    io->at = (size_t)(dst - io->dst);
    set_bit_position(d, io, bit);
    return n_before - n_codes;
}

/* ---- Dialects ---------------------------------------------------------------------------------------------- */

/* The loops, once for each width that matters: constants as shift counts are worth the room. */
#define EACH_WIDTH(loop, msb_first)                               \
    switch (d->width) {                                           \
    case 9: return loop(d, io, n_codes, msb_first, 9);            \
    case 10: return loop(d, io, n_codes, msb_first, 10);          \
    case 11: return loop(d, io, n_codes, msb_first, 11);          \
    case 12: return loop(d, io, n_codes, msb_first, 12);          \
    case 13: return loop(d, io, n_codes, msb_first, 13);          \
    case 14: return loop(d, io, n_codes, msb_first, 14);          \
    case 15: return loop(d, io, n_codes, msb_first, 15);          \
    case 16: return loop(d, io, n_codes, msb_first, 16);          \
    default: return loop(d, io, n_codes, msb_first, d->width);    \
    }

static size_t whole_loop_msb(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes) { EACH_WIDTH(whole_loop, 1) }
static size_t whole_loop_lsb(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes) { EACH_WIDTH(whole_loop, 0) }
static size_t chunks_loop_msb(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes) { EACH_WIDTH(chunks_loop, 1) }
static size_t chunks_loop_lsb(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes) { EACH_WIDTH(chunks_loop, 0) }

/* How many codes are sure to add a string (or, the table being full, none) and to leave the width as it is but
 * for the last. None where codes are so wide that they can be beyond the table, which no fast loop expects. */
TSR_INLINE size_t codes_alike(const tsr_lzw_decoder *d) {
    if (d->next == d->codes.table_size) return 1u << d->width > d->codes.table_size ? 0 : SIZE_MAX;
    const uint32_t end = d->width < d->codes.width_last ? (1u << d->width) - d->codes.early : d->codes.table_size;
    return d->next < end ? end - d->next : 0;
}

static void grow(tsr_lzw_decoder *d) {
    const unsigned width = tsr_lzw_width(&d->codes, d->width, d->next);
    if (width != d->width) set_width(d, width);
}

static void clear(tsr_lzw_decoder *d, const lzw_io *io) {
    set_width(d, d->codes.width_first);
    d->next = d->codes.first_free;
    d->previous = NO_CODE;
    d->origin = io->at;
}

TSR_INLINE tsr_result decode(tsr_lzw_decoder *d, lzw_io *io, tsr_lzw_status *status, const int whole) {
    if (!d->started) {
        if (whole)
            whole_start(d, io->at);
        else
            chunks_start(d);
        d->started = 1;
    }
    for (;;) {
        *status = TSR_LZW_END;
        if (d->ended) return TSR_OK;
        *status = TSR_LZW_OUTPUT_FULL;
        if (whole)
            whole_write_rest(d, io);
        else
            chunks_write_rest(d, io);
        if (d->n_rest) return TSR_OK;

        const size_t n_codes = codes_alike(d);
        if (n_codes && d->previous != NO_CODE && !d->n_skip && bit_position(d, io) >= 0) {
            const size_t n = whole ? (d->msb_first ? whole_loop_msb : whole_loop_lsb)(d, io, n_codes)
                                   : (d->msb_first ? chunks_loop_msb : chunks_loop_lsb)(d, io, n_codes);
            d->n_at_width = (unsigned)((d->n_at_width + n) % 8);
            if (n == n_codes) {
                grow(d);
                continue;
            }
        }

        *status = TSR_LZW_NEED_INPUT;
        const size_t n_left = (size_t)(io->src_end - io->src), n_skip = d->n_skip < n_left ? d->n_skip : n_left;
        io->src += n_skip;
        d->n_skip -= n_skip;
        if (d->n_skip || !fill_bits(d, io)) return TSR_OK;
        const uint32_t code = peek_code(d);
        if (code == d->codes.end) {
            drop_code(d);
            d->ended = 1;
        } else if (code == d->codes.clear) {
            drop_code(d);
            clear(d, io);
        } else if (io->at == io->dst_len) {
            *status = TSR_LZW_OUTPUT_FULL;
            return TSR_OK;
        } else {
            if (d->previous == NO_CODE && code >= d->codes.n_literals) return TSR_ERR_LZW_FIRST;
            if (d->previous != NO_CODE && (code > d->next || code == d->codes.table_size)) return TSR_ERR_LZW_CODE;
            drop_code(d);
            if (whole)
                whole_write(d, io, code);
            else
                chunks_write(d, io, code);
            d->next += d->previous != NO_CODE && d->next < d->codes.table_size;
            d->previous = code;
            grow(d);
        }
    }
}

TSR_INLINE tsr_result decode_call(tsr_lzw_decoder *d, uint8_t *dst, size_t n_before, size_t dst_len,
                                  const uint8_t *src, size_t src_len, tsr_lzw_progress *progress,
                                  const int whole) {
    lzw_io io = {src, src, src + src_len, dst, n_before, dst_len};
    const tsr_result rc = decode(d, &io, &progress->status, whole);
    const ptrdiff_t bit = bit_position(d, &io);
    progress->n_read = rc == TSR_OK ? (size_t)(io.src - src) : bit < 0 ? 0 : (size_t)bit / 8;
    progress->n_written = io.at - n_before;
    return rc;
}

tsr_result tsr_lzw_decode(tsr_lzw_decoder *decoder, uint8_t *dst, size_t dst_len, const uint8_t *src,
                          size_t src_len, tsr_lzw_progress *progress) {
    return decode_call(decoder, dst, 0, dst_len, src, src_len, progress, 0);
}

tsr_result tsr_lzw_decode_whole(tsr_lzw_decoder *decoder, uint8_t *dst, size_t n_before, size_t dst_len,
                                const uint8_t *src, size_t src_len, tsr_lzw_progress *progress) {
    return decode_call(decoder, dst, n_before, dst_len, src, src_len, progress, 1);
}

size_t tsr_lzw_decoder_size(const tsr_lzw_dialect *dialect) {
    const size_t table_size = tsr_lzw_codes(dialect).table_size;
    return sizeof(tsr_lzw_decoder) + (table_size + 4) * (sizeof(uint64_t) + sizeof(uint32_t)) + table_size + CHUNK;
}

void tsr_lzw_decoder_init(tsr_lzw_decoder *decoder, const tsr_lzw_dialect *dialect) {
    memset(decoder, 0, sizeof *decoder);
    decoder->codes = tsr_lzw_codes(dialect);
    decoder->msb_first = dialect->msb_first;
    decoder->grouped = dialect->grouped;
    decoder->width = decoder->codes.width_first;
    decoder->next = decoder->codes.first_free;
    decoder->previous = NO_CODE;
}

int tsr_lzw_decoder_is_spent(const tsr_lzw_decoder *d) {
    return d->n_rest == 0 && d->n_skip == 0 && d->n_bits < 8 && d->bits == 0;
}
