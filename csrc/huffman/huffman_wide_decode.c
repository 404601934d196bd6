/* From bit strings back to symbols of 1, 2 or 4 bytes. */
#include "huffman_wide_internal.h"

#define COUNT_BYTES_MAX 10

/* ---- The decoder ---------------------------------------------------------------------------------- */

size_t tsr_code_decoder_size(size_t n) {
    return sizeof(wide_decoder) + (((size_t)1 << LARGE_TABLE_BITS) + n) * sizeof(uint32_t);
}

static void fill_table(wide_decoder *d) {
    const size_t n_entries = (size_t)1 << d->table_bits;
    size_t at = 0, rank = 0;
    for (int l = d->shortest; l <= d->table_bits && l <= d->longest; l++) {
        const size_t width = (size_t)1 << (d->table_bits - l);
        for (; rank < d->rank[l + 1]; rank++) {
            const uint32_t entry = d->symbols[rank] << 8 | (uint32_t)l;
            for (size_t i = 0; i < width; i++) d->table[at + i] = entry;
            at += width;
        }
    }
    memset(d->table + at, 0, (n_entries - at) * sizeof *d->table);
}

tsr_result tsr_code_decoder_init(void *place, const uint32_t n_of_length[TSR_CODE_MAX_LENGTH + 1],
                                 const uint32_t *symbols, size_t n) {
    wide_decoder *const d = place;
    const tsr_result rc = tsr_code_check_lengths(n_of_length, n);
    if (rc != TSR_OK) return rc;
    d->n = n;
    d->shortest = d->longest = 0;
    d->start[1] = d->rank[1] = 0;
    for (int l = 1; l <= TSR_CODE_MAX_LENGTH; l++) {
        if (n_of_length[l]) {
            if (!d->shortest) d->shortest = l;
            d->longest = l;
        }
        d->rank[l + 1] = d->rank[l] + n_of_length[l];
        d->start[l + 1] = d->start[l] + ((uint64_t)n_of_length[l] << (64 - l)); /* 0 after the last */
    }
    const uint64_t n_long_windows = 0 - d->start[TABLE_BITS + 1];
    d->table_bits = d->longest > TABLE_BITS && n_long_windows - 1 > UINT64_MAX / LONG_SHARE ? LARGE_TABLE_BITS
                                                                                            : TABLE_BITS;
    d->symbols = d->table + ((size_t)1 << d->table_bits);
    memcpy(d->symbols, symbols, n * sizeof *symbols);
    if (n > 1) fill_table(d);
    return TSR_OK;
}

/* Complete codes leave no window out. */
uint32_t tsr_code_long_entry(const wide_decoder *d, uint64_t window) {
    int l = d->table_bits + 1;
    while (l < d->longest && window >= d->start[l + 1]) l++;
    return d->symbols[d->rank[l] + ((window - d->start[l]) >> (64 - l))] << 8 | (uint32_t)l;
}

/* ---- Strings -------------------------------------------------------------------------------------- */

TSR_INLINE uint64_t bits_used(const bit_string *s) {
    return 8 * (uint64_t)(s->at - s->start) + tsr_lowest_bit(s->window);
}

/* Zeros stand for the bits past the end. Returns 0 when the string was over before. */
static int refill(bit_string *s) {
    const unsigned used = tsr_lowest_bit(s->window);
    const size_t n_left = (size_t)(s->end - s->at);
    if (n_left < used >> 3) return 0;
    s->at += used >> 3;
    uint8_t bytes[8] = {0};
    memcpy(bytes, s->at, n_left - (used >> 3) < 8 ? n_left - (used >> 3) : 8);
    s->window = (tsr_load64_be(bytes) | FRESH) << (used & 7);
    return 1;
}

static bit_string open_string(uint8_t *dst, size_t n, const uint8_t *src, size_t size) {
    bit_string s = {FRESH, src, src, src + size, dst, n};
    refill(&s);
    return s;
}

/* A code of one symbol: every bit is zero. */
static tsr_result decode_single(const wide_decoder *d, bit_string *s, uint64_t n_bits, int width, uint64_t *n_used) {
    const uint64_t n = s->n < n_bits ? s->n : n_bits;
    for (uint64_t i = 0; i < n; i++) {
        if (s->start[i >> 3] >> (7 - (i & 7)) & 1) return TSR_ERR_CODE_UNASSIGNED;
        symbol_put(s->dst, (size_t)i, width, d->symbols[0]);
    }
    s->n -= (size_t)n;
    *n_used = n;
    return TSR_OK;
}

/* Goes on until all symbols are there, or n_bits are used up. */
static tsr_result decode_rest(const wide_decoder *d, bit_string *s, uint64_t n_bits, int width, uint64_t *n_used) {
    if (d->n == 1) return decode_single(d, s, n_bits, width, n_used);
    uint64_t used = bits_used(s);
    for (; s->n > 0 && used < n_bits; s->n--, s->dst += width, used = bits_used(s)) {
        if (!refill(s)) return TSR_ERR_STREAM_SHORT;
        uint32_t entry = d->table[s->window >> (64 - d->table_bits)];
        if (!(entry & 255)) entry = tsr_code_long_entry(d, s->window);
        s->window <<= entry & 255;
        symbol_put(s->dst, 0, width, entry >> 8);
    }
    *n_used = used;
    return used > n_bits ? TSR_ERR_STREAM_SHORT : TSR_OK;
}

/* ---- Data ----------------------------------------------------------------------------------------- */

tsr_result tsr_code_decode_count(const void *place, const uint8_t *src, size_t src_len, uint64_t *n,
                                 size_t *n_read) {
    const wide_decoder *const d = place;
    size_t at = 0;
    *n = 0;
    for (;; at++) {
        if (at == src_len) return TSR_ERR_STREAM_SHORT;
        if (at == COUNT_BYTES_MAX) return TSR_ERR_COUNT;
        *n |= (uint64_t)(src[at] & 127) << (7 * at);
        if (src[at] < 128) break;
    }
    if (at > 0 && src[at] == 0) return TSR_ERR_COUNT; /* has a shorter form */
    *n_read = at + 1;
    return *n <= 8 * (uint64_t)(src_len - *n_read) / (unsigned)d->shortest ? TSR_OK : TSR_ERR_COUNT;
}

/* Less than a byte may be left of a string, and only zeros. */
static tsr_result check_end(const uint8_t *src, size_t size, uint64_t used) {
    if (8 * (uint64_t)size - used >= 8) return TSR_ERR_STREAM_LONG;
    if (used & 7 && src[size - 1] & ((1 << (8 - (used & 7))) - 1)) return TSR_ERR_PADDING;
    return TSR_OK;
}

tsr_result tsr_code_decode(const void *place, uint8_t *dst, size_t n, int width, const uint8_t *src,
                           size_t src_len) {
    const wide_decoder *const d = place;
    const uint8_t *const end = src + src_len;
    bit_string strings[TSR_CODE_STRINGS];
    const int n_all = n_strings(n);
    uint64_t said;
    size_t n_read;
    tsr_result rc = tsr_code_decode_count(d, src, src_len, &said, &n_read);
    if (rc != TSR_OK) return rc;
    if (said != n) return TSR_ERR_COUNT;

    const uint8_t *sizes = src + n_read;
    if ((size_t)(end - sizes) < 8 * (size_t)(n_all - 1)) return TSR_ERR_STREAM_SHORT;
    const uint8_t *at = sizes + 8 * (n_all - 1);
    for (int k = 0; k < n_all; k++, sizes += 8) {
        uint64_t size = (uint64_t)(end - at);
        if (k < n_all - 1) memcpy(&size, sizes, 8);
        if (size > (uint64_t)(end - at)) return TSR_ERR_STREAM_SHORT;
        strings[k] = open_string(dst, n_of_string(n, k), at, (size_t)size);
        dst += strings[k].n * (size_t)width;
        at += size;
    }
    if (d->n > 1) tsr_code_active()->decode_strings(d, strings, n_all, end, width);
    for (int k = 0; k < n_all; k++) {
        bit_string *const s = &strings[k];
        const size_t size = (size_t)(s->end - s->start);
        uint64_t used;
        rc = decode_rest(d, s, 8 * (uint64_t)size, width, &used);
        if (rc == TSR_OK && s->n) rc = TSR_ERR_STREAM_SHORT;
        if (rc == TSR_OK) rc = check_end(s->start, size, used);
        if (rc != TSR_OK) return rc;
    }
    return TSR_OK;
}

tsr_result tsr_code_decode_bits(const void *place, uint8_t *dst, size_t n_max, int width, const uint8_t *src,
                                size_t src_len, uint64_t n_bits, size_t *n, uint64_t *n_used) {
    const wide_decoder *const d = place;
    bit_string s = open_string(dst, n_max, src, src_len);
    /* The fast loop keeps its distance from the end, and so from the last bit. */
    if (d->n > 1) tsr_code_active()->decode_strings(d, &s, 1, src + n_bits / 8, width);
    const tsr_result rc = decode_rest(d, &s, n_bits, width, n_used);
    *n = n_max - s.n;
    return rc;
}
