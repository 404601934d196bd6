/*
 * LZW decoding. decode() knows the dialects: widths, control codes, padding, errors, input and output cut
 * anywhere. It takes one code at a time and leaves stretches in which nothing of that happens to a fast loop.
 * There are two ways to keep strings:
 *
 *   places  Where output lies in one piece a string is a place in it: a new one is where the previous string
 *           began, with its length + 1.
 *   chunks  A string is its last 1 to 8 bytes and the code of what precedes them. It is written from its end to
 *           its beginning, where its first byte comes up.
 *
 * Either way the new string is in the table before the code that completes it is looked up, as that code may be
 * its own.
 *
 * Places are faster. For streaming, the decoder keeps the output since the last clear (the history) for them, and
 * once the table is full no more of it. Should the history fill up first, as it may where strings are long, the
 * decoder changes to chunks until the next clear. All it needs for that is the codes since the last clear.
 */
#include "lzw_internal.h"

#define CHUNK 8
/* Bytes that the loop for places copies before it looks at the length. */
#define BLOCK 16
/* Codes in a window of 64 bits, the first of which may begin 7 bits late. */
#define WINDOW_CODES 4
#define WIDE_WINDOW_CODES 3
#define WIDE 15
/* Entries after the last code's, which fast loops write when the table is full. */
#define SPARE WINDOW_CODES
/* Of control codes, which so leave the fast loops by their branch for long strings. */
#define NO_LENGTH 0xFFFFu
/* The history, in bytes: room for strings of 16 bytes on average; of 6 with codes of 16 bits, so that the decoder
 * stays below 1 MiB. It is never less than what chunks need in its place. */
#define HISTORY_MAX ((size_t)383 << 10)

/* Why decode() stopped: a status for the caller, or one of these, after which it goes on. */
enum { CLEARED = TSR_LZW_END + 1, TABLE_FULL };

struct tsr_lzw_decoder {
    lzw_codes codes;
    uint8_t msb_first, grouped, streaming;
    uint8_t ended;
    uint8_t in_chunks;
    uint8_t has_previous; /* a string that the next code completes to a new one */
    uint8_t is_far;       /* places: literal_bytes is farther away than the table can say */
    uint8_t first_byte;   /* chunks: of the previous string */
    unsigned width;
    uint32_t next;       /* the code of the string that is being made; table_size when the table is full */
    unsigned n_at_width; /* codes read since the width began, modulo 8 */
    size_t n_skip;       /* bytes of padding to skip */
    uint32_t bits;       /* read and not used yet: the lower n_bits */
    unsigned n_bits;
    /* What did not fit of the last string: its place in the output (places) or in the tail (chunks). */
    uint32_t n_rest;
    size_t rest_at;
    size_t n_history;
    uint64_t literals_at; /* of literal_bytes, as a place */
    uint64_t open_place; /* of the new string, with its length: a table entry */
    /* Chunks: the previous string as another byte is appended to it. */
    uint64_t open_chunk;
    uint32_t open_link;
    /* table_size + SPARE entries: place << 16 | length, or a string's last chunk. After them is either the history
     * or, for chunks, as many links (prefix << 16 | length) and the tail, in which a string is put together that
     * may not fit; and at the end a log with the code of which each string is the continuation. */
    uint64_t table[];
};

/* Strings are read at `base` and written at `dst`. These are the same but for streaming with a full table. */
typedef struct lzw_io {
    const uint8_t *src, *src_begin, *src_end;
    const uint8_t *base;
    uint8_t *dst;
    size_t at, dst_len;
} lzw_io;

TSR_INLINE size_t n_entries(const tsr_lzw_decoder *d) { return d->codes.table_size + SPARE; }
TSR_INLINE size_t history_size(size_t n_entries) {
    return 16 * n_entries < HISTORY_MAX ? 16 * n_entries : HISTORY_MAX;
}
TSR_INLINE uint8_t *history_of(tsr_lzw_decoder *d) { return (uint8_t *)(d->table + n_entries(d)); }
TSR_INLINE uint32_t *links_of(tsr_lzw_decoder *d) { return (uint32_t *)(d->table + n_entries(d)); }
TSR_INLINE uint8_t *tail_of(tsr_lzw_decoder *d) { return (uint8_t *)(links_of(d) + n_entries(d)); }
TSR_INLINE uint16_t *log_of(tsr_lzw_decoder *d) { return (uint16_t *)(history_of(d) + history_size(n_entries(d))); }

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
    d->n_bits = (unsigned)(7 - (bit + 7) % 8);
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

/* 64 bits from anywhere, the next code at the end where codes begin. */
TSR_INLINE uint64_t load_window(const uint8_t *src, size_t bit, const int msb_first) {
    return msb_first ? tsr_load64_be(src + bit / 8) << (bit & 7) : tsr_load64(src + bit / 8) >> (bit & 7);
}

TSR_INLINE uint32_t take_code(uint64_t *window, const int msb_first, const unsigned width) {
    const uint64_t code = msb_first ? *window >> (64 - width) : *window & ((1u << width) - 1);
    *window = msb_first ? *window << width : *window >> width;
    return (uint32_t)code;
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

/* Places are counted from base, and even literals have one, so that the fast loop knows no difference. */
static void places_start(tsr_lzw_decoder *d, const uint8_t *base) {
    const uint64_t at = (uintptr_t)literal_bytes - (uintptr_t)base;
    d->literals_at = at;
    d->is_far = at + ((uint64_t)1 << 47) >= ((uint64_t)1 << 48) - 256;
    for (uint32_t c = 0; c < d->codes.n_literals; c++) d->table[c] = (at + c) << 16 | 1;
    for (uint32_t c = d->codes.n_literals; c < d->codes.first_free; c++) d->table[c] = NO_LENGTH;
}

static void places_write_rest(tsr_lzw_decoder *d, lzw_io *io) {
    /* Byte by byte, since a string that begins with the previous one may overlap its copy. */
    for (; d->n_rest && io->at < io->dst_len; d->n_rest--) io->dst[io->at++] = io->base[d->rest_at++];
}

static void places_write(tsr_lzw_decoder *d, lzw_io *io, uint32_t code) {
    if (d->has_previous) d->table[d->next] = d->open_place;
    const uint32_t n = d->table[code] & 0xFFFF;
    d->open_place = ((uint64_t)io->at << 16) + n + 1;
    if (code < d->codes.n_literals) {
        io->dst[io->at++] = (uint8_t)code;
    } else {
        d->rest_at = (size_t)(d->table[code] >> 16);
        d->n_rest = n;
        places_write_rest(d, io);
    }
    if (d->streaming) log_of(d)[d->next + d->has_previous] = (uint16_t)code;
}

/* Decodes up to n_codes codes while they are strings of the table and nothing is near an end. */
TSR_INLINE size_t places_loop(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes, const int logs, const int msb_first,
                              const unsigned width) {
    const unsigned n_window = width < WIDE ? WINDOW_CODES : WIDE_WINDOW_CODES;
    const size_t margin = n_window * BLOCK, n_before = n_codes;
    const uint32_t n_literals = d->codes.n_literals, n_controls = d->codes.first_free - n_literals;
    const uint32_t n_new = d->next < d->codes.table_size;
    const uint8_t *const src = io->src_begin;
    const uintptr_t base = (uintptr_t)io->base;
    const size_t src_len = (size_t)(io->src_end - src), end = io->dst_len;
    uint8_t *const dst = io->dst;
    uint64_t *const table = d->table;
    uint16_t *const log = log_of(d) + 1;
    uint32_t next = d->next;
    uint64_t open = d->open_place;
    size_t at = io->at, bit = (size_t)bit_position(d, io);
    unsigned k = 0;

    for (; n_codes >= n_window && bit / 8 + 8 <= src_len && end - at >= margin; n_codes -= n_window) {
        uint64_t window = load_window(src, bit, msb_first);
#pragma GCC unroll 4
        for (k = 0; k < n_window; k++) {
            const uint32_t code = take_code(&window, msb_first, width);
            table[next + k] = open;
            if (TSR_UNLIKELY(code >= next + k)) {
                if (code > next + k || !n_new) goto out;
                dst[at] = dst[open >> 16];
            }
            const uint64_t entry = table[code];
            const uint8_t *const from = (const uint8_t *)(base + (uintptr_t)((int64_t)entry >> 16));
            const size_t n = entry & 0xFFFF;
            if (TSR_LIKELY(n <= BLOCK)) {
                copy_block(dst + at, from);
            } else {
                if (code - n_literals < n_controls || end - at < n + margin) goto out;
                for (size_t i = 0; i < n; i += BLOCK) copy_block(dst + at + i, from + i);
            }
            if (logs) log[next + k] = (uint16_t)code;
            open = ((uint64_t)at << 16) + n + 1;
            at += n;
        }
        k = 0;
        bit += n_window * width;
        next += n_window * n_new;
    }
out:
    n_codes -= k;
    d->next = next + k * n_new;
    d->open_place = open;
    io->at = at;
    set_bit_position(d, io, bit + k * width);
    return n_before - n_codes;
}

/* ---- Strings as chunks ---------------------------------------------------------------------------------- */

static void chunks_write_rest(tsr_lzw_decoder *d, lzw_io *io) {
    const size_t room = io->dst_len - io->at, n = d->n_rest < room ? d->n_rest : room;
    if (n) memcpy(io->dst + io->at, tail_of(d) + d->rest_at, n);
    io->at += n;
    d->rest_at += n;
    d->n_rest -= (uint32_t)n;
}

/* Writes a string, and on to its last chunk's end; returns its first chunk. */
TSR_INLINE uint64_t write_chunks(uint8_t *dst, const uint64_t *table, const uint32_t *links, uint32_t code) {
    uint64_t chunk = table[code];
    for (size_t i = ((links[code] & 0xFFFF) - 1) / CHUNK * CHUNK;; i -= CHUNK) {
        memcpy(dst + i, &chunk, CHUNK);
        if (i == 0) return chunk;
        code = links[code] >> 16;
        chunk = table[code];
    }
}

/* The bits of the last chunk that are in use; none if the next byte begins another chunk. */
TSR_INLINE unsigned chunk_bits(uint32_t length) { return 8 * (length % CHUNK); }

TSR_INLINE void chunks_open(tsr_lzw_decoder *d, uint32_t code) {
    const uint32_t link = links_of(d)[code];
    d->open_chunk = chunk_bits(link) ? d->table[code] : 0;
    d->open_link = (chunk_bits(link) ? link : code << 16 | (link & 0xFFFF)) + 1;
}

TSR_INLINE void chunks_close(tsr_lzw_decoder *d, uint8_t byte) {
    d->table[d->next] = d->open_chunk | (uint64_t)byte << chunk_bits(d->open_link - 1);
    links_of(d)[d->next] = d->open_link;
}

static void chunks_write(tsr_lzw_decoder *d, lzw_io *io, uint32_t code) {
    /* Complete if the code is that of the new string; else the byte is another. */
    chunks_close(d, d->first_byte);
    d->first_byte = (uint8_t)write_chunks(tail_of(d), d->table, links_of(d), code);
    chunks_close(d, d->first_byte);
    chunks_open(d, code);
    d->n_rest = links_of(d)[code] & 0xFFFF;
    d->rest_at = 0;
    chunks_write_rest(d, io);
}

/* Makes chunks of all strings, going through the codes since the last clear once more. */
static void change_to_chunks(tsr_lzw_decoder *d) {
    uint32_t *const links = links_of(d);
    uint8_t *const first_bytes = tail_of(d);
    const uint16_t *const log = log_of(d);
    const uint32_t next = d->next;
    for (uint32_t c = 0; c < d->codes.n_literals; c++) {
        d->table[c] = first_bytes[c] = (uint8_t)c;
        links[c] = 1;
    }
    for (uint32_t c = d->codes.n_literals; c < d->codes.first_free; c++) links[c] = NO_LENGTH;
    for (d->next = d->codes.first_free; d->next < next; d->next++) {
        first_bytes[d->next] = first_bytes[log[d->next]];
        chunks_open(d, log[d->next]);
        chunks_close(d, first_bytes[log[d->next + 1]]);
    }
    d->first_byte = first_bytes[log[next]];
    chunks_open(d, log[next]);
    write_chunks(tail_of(d), d->table, links, log[next]);
    d->rest_at = (links[log[next]] & 0xFFFF) - d->n_rest;
    d->in_chunks = 1;
}

TSR_INLINE size_t chunks_loop(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes, const int msb_first,
                              const unsigned width) {
    const unsigned n_window = width < WIDE ? WINDOW_CODES : WIDE_WINDOW_CODES;
    const size_t margin = n_window * CHUNK, n_before = n_codes;
    const uint32_t n_literals = d->codes.n_literals, n_controls = d->codes.first_free - n_literals;
    const uint32_t n_new = d->next < d->codes.table_size;
    const uint8_t *const src = io->src_begin;
    const size_t src_len = (size_t)(io->src_end - src), end = io->dst_len;
    uint8_t *const dst = io->dst;
    uint64_t *const table = d->table;
    uint32_t *const links = links_of(d);
    uint32_t next = d->next, open_link = d->open_link;
    uint64_t open_chunk = d->open_chunk, first = d->first_byte;
    unsigned n_open = chunk_bits(open_link - 1), k = 0;
    size_t at = io->at, bit = (size_t)bit_position(d, io);

    for (; n_codes >= n_window && bit / 8 + 8 <= src_len && end - at >= margin; n_codes -= n_window) {
        uint64_t window = load_window(src, bit, msb_first);
#pragma GCC unroll 4
        for (k = 0; k < n_window; k++) {
            const uint32_t code = take_code(&window, msb_first, width);
            links[next + k] = open_link;
            if (TSR_UNLIKELY(code >= next + k)) {
                if (code > next + k || !n_new) goto out;
                table[next + k] = open_chunk | first << n_open;
            }
            const uint64_t chunk = table[code];
            const uint32_t link = links[code], n = link & 0xFFFF;
            if (TSR_LIKELY(n < CHUNK)) {
                memcpy(dst + at, &chunk, CHUNK);
                first = chunk & 0xFF;
                table[next + k] = open_chunk | first << n_open;
                open_chunk = chunk;
                open_link = link + 1;
            } else {
                if (code - n_literals < n_controls || end - at < n + margin) goto out;
                first = write_chunks(dst + at, table, links, code) & 0xFF;
                table[next + k] = open_chunk | first << n_open;
                open_chunk = n % CHUNK ? chunk : 0;
                open_link = (n % CHUNK ? link : code << 16 | n) + 1;
            }
            n_open = chunk_bits(n);
            at += n;
        }
        k = 0;
        bit += n_window * width;
        next += n_window * n_new;
    }
out:
    n_codes -= k;
    d->next = next + k * n_new;
    d->open_link = open_link;
    d->open_chunk = open_chunk;
    d->first_byte = (uint8_t)first;
    io->at = at;
    set_bit_position(d, io, bit + k * width);
    return n_before - n_codes;
}

/* ---- Decoding ---------------------------------------------------------------------------------------------- */

/* The loop for places, once for each width that matters: constants as shift counts are worth the room. */
TSR_INLINE size_t places_loop_by_width(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes, const int logs,
                                       const int msb_first) {
#define CASE(width) \
    case width: return places_loop(d, io, n_codes, logs, msb_first, width)
    switch (d->width) {
        CASE(9);
        CASE(10);
        CASE(11);
        CASE(12);
        CASE(13);
        CASE(14);
        CASE(15);
        CASE(16);
    default: return places_loop(d, io, n_codes, logs, msb_first, d->width);
    }
#undef CASE
}

static size_t fast_loop(tsr_lzw_decoder *d, lzw_io *io, size_t n_codes, int in_chunks) {
    if (in_chunks)
        return d->msb_first ? chunks_loop(d, io, n_codes, 1, d->width) : chunks_loop(d, io, n_codes, 0, d->width);
    if (d->streaming && d->next < d->codes.table_size)
        return d->msb_first ? places_loop_by_width(d, io, n_codes, 1, 1) : places_loop_by_width(d, io, n_codes, 1, 0);
    return d->msb_first ? places_loop_by_width(d, io, n_codes, 0, 1) : places_loop_by_width(d, io, n_codes, 0, 0);
}

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

static void clear(tsr_lzw_decoder *d) {
    set_width(d, d->codes.width_first);
    d->next = d->codes.first_free;
    d->has_previous = 0;
}

/* Decodes until an end is reached, or an event that matters to how output is kept. */
TSR_INLINE tsr_result decode(tsr_lzw_decoder *d, lzw_io *io, int *stop, const int in_chunks) {
    for (;;) {
        *stop = TSR_LZW_END;
        if (d->ended) return TSR_OK;
        *stop = TSR_LZW_OUTPUT_FULL;
        if (in_chunks)
            chunks_write_rest(d, io);
        else
            places_write_rest(d, io);
        if (d->n_rest) return TSR_OK;
        *stop = TSR_LZW_NEED_INPUT;
        const size_t n_left = (size_t)(io->src_end - io->src);
        const size_t n_skip = d->n_skip < n_left ? d->n_skip : n_left;
        io->src += n_skip;
        d->n_skip -= n_skip;
        if (d->n_skip) return TSR_OK;

        const size_t n_codes = codes_alike(d);
        if (n_codes >= WINDOW_CODES && d->has_previous && !d->is_far && bit_position(d, io) >= 0) {
            const size_t n = fast_loop(d, io, n_codes, in_chunks);
            d->n_at_width = (unsigned)((d->n_at_width + n) % 8);
            if (n == n_codes) {
                grow(d);
                if (d->next < d->codes.table_size) continue;
                *stop = TABLE_FULL;
                return TSR_OK;
            }
        }

        if (!fill_bits(d, io)) return TSR_OK;
        const uint32_t code = peek_code(d);
        if (code == d->codes.end) {
            drop_code(d);
            d->ended = 1;
        } else if (code == d->codes.clear) {
            drop_code(d);
            *stop = CLEARED;
            return TSR_OK;
        } else if (io->at == io->dst_len) {
            *stop = TSR_LZW_OUTPUT_FULL;
            return TSR_OK;
        } else {
            if (!d->has_previous && code >= d->codes.n_literals) return TSR_ERR_LZW_FIRST;
            if (d->has_previous && (code > d->next || code == d->codes.table_size)) return TSR_ERR_LZW_CODE;
            drop_code(d);
            if (in_chunks)
                chunks_write(d, io, code);
            else
                places_write(d, io, code);
            const uint32_t next = d->next;
            d->next += d->has_previous && next < d->codes.table_size;
            d->has_previous = 1;
            grow(d);
            if (d->next > next && d->next == d->codes.table_size) {
                *stop = TABLE_FULL;
                return TSR_OK;
            }
        }
    }
}

TSR_INLINE tsr_result decode_whole(tsr_lzw_decoder *d, lzw_io *io, int *stop) {
    for (;;) {
        const tsr_result rc = decode(d, io, stop, 0);
        if (*stop == CLEARED)
            clear(d);
        else if (*stop != TABLE_FULL)
            return rc;
    }
}

/* Decodes in the history as much as there is room for, and copies that. */
static tsr_result decode_by_history(tsr_lzw_decoder *d, lzw_io *io, int *stop) {
    const size_t room = io->dst_len - io->at, left = history_size(n_entries(d)) - d->n_history;
    lzw_io inner = *io;
    inner.base = inner.dst = history_of(d);
    inner.at = d->n_history;
    inner.dst_len = d->n_history + (room < left ? room : left);
    const tsr_result rc = decode(d, &inner, stop, 0);
    const size_t n = inner.at - d->n_history;
    if (n) memcpy(io->dst + io->at, inner.dst + d->n_history, n);
    io->at += n;
    io->src = inner.src;
    d->n_history = inner.at;
    return rc;
}

static tsr_result decode_stream(tsr_lzw_decoder *d, lzw_io *io, int *stop) {
    for (;;) {
        tsr_result rc;
        if (d->in_chunks) {
            rc = decode(d, io, stop, 1);
        } else if (d->next < d->codes.table_size) {
            rc = decode_by_history(d, io, stop);
            if (*stop == TSR_LZW_OUTPUT_FULL && io->at < io->dst_len) {
                change_to_chunks(d);
                continue;
            }
        } else {
            io->base = history_of(d);
            rc = decode(d, io, stop, 0);
        }
        if (*stop == CLEARED) {
            clear(d);
            d->n_history = 0;
            if (d->in_chunks) places_start(d, history_of(d));
            d->in_chunks = 0;
        } else if (*stop != TABLE_FULL) {
            return rc;
        }
    }
}

static void report(const tsr_lzw_decoder *d, const lzw_io *io, tsr_result rc, int stop, tsr_lzw_progress *progress) {
    const ptrdiff_t bit = bit_position(d, io);
    progress->n_read = rc == TSR_OK ? (size_t)(io->src - io->src_begin) : bit < 0 ? 0 : (size_t)bit / 8;
    progress->status = (tsr_lzw_status)stop;
}

tsr_result tsr_lzw_decode(tsr_lzw_decoder *decoder, uint8_t *dst, size_t dst_len, const uint8_t *src,
                          size_t src_len, tsr_lzw_progress *progress) {
    lzw_io io = {src, src, src + src_len, dst, dst, 0, dst_len};
    int stop;
    if (!decoder->streaming) places_start(decoder, history_of(decoder));
    decoder->streaming = 1;
    const tsr_result rc = decode_stream(decoder, &io, &stop);
    progress->n_written = io.at;
    report(decoder, &io, rc, stop, progress);
    return rc;
}

tsr_result tsr_lzw_decode_whole(tsr_lzw_decoder *decoder, uint8_t *dst, size_t n_before, size_t dst_len,
                                const uint8_t *src, size_t src_len, tsr_lzw_progress *progress) {
    lzw_io io = {src, src, src + src_len, dst, dst, n_before, dst_len};
    int stop;
    if (decoder->literals_at != (uintptr_t)literal_bytes - (uintptr_t)dst) places_start(decoder, dst);
    const tsr_result rc = decode_whole(decoder, &io, &stop);
    progress->n_written = io.at - n_before;
    report(decoder, &io, rc, stop, progress);
    return rc;
}

size_t tsr_lzw_decoder_size(const tsr_lzw_dialect *dialect) {
    const size_t n = tsr_lzw_codes(dialect).table_size + SPARE;
    return sizeof(tsr_lzw_decoder) + n * sizeof(uint64_t) + history_size(n) + (n + 1) * sizeof(uint16_t);
}

void tsr_lzw_decoder_init(tsr_lzw_decoder *decoder, const tsr_lzw_dialect *dialect) {
    memset(decoder, 0, sizeof *decoder);
    decoder->codes = tsr_lzw_codes(dialect);
    decoder->msb_first = dialect->msb_first;
    decoder->grouped = dialect->grouped;
    decoder->width = decoder->codes.width_first;
    decoder->next = decoder->codes.first_free;
}

/* For planes (plane.c), whose data has to be exact. */
int tsr_lzw_decoder_is_spent(const tsr_lzw_decoder *d) {
    return d->n_rest == 0 && d->n_skip == 0 && d->n_bits < 8 && d->bits == 0;
}
