/* From Huffman data back to a plane of bytes. */
#include "huffman_internal.h"

/*
 * A lane is one number: its bits, left-aligned, and a one after them. It is due a word when the one is in the
 * upper half. S, what the one is worth there, is zero otherwise: word and the one after it take the old one's
 * place as (2 * word + 1) * S, and with no branch.
 */
TSR_INLINE const uint8_t *decode_lane(const uint16_t *flat, uint32_t *lane, const uint8_t *words, uint8_t *dst) {
    const unsigned entry = flat[*lane >> (32 - MAX_LENGTH)];
    const uint32_t bits = *lane << (entry & 31);
    const uint32_t one = (bits & (0u - bits)) >> 16;
    *dst = (uint8_t)(entry >> 8);
    *lane = bits + one * (2u * tsr_load16(words) - 0xFFFFu); /* one * 65536 is the old one */
    return words + 2 * ((uint16_t)bits == 0);
}

static void decode_stream_scalar(const uint16_t *flat, lane_stream *stream) {
    uint32_t lanes[LANES];
    lane_states *states = &stream->states;
    for (int k = 0; k < LANES; k++) {
        const uint32_t bits = (uint32_t)states->front[k & 1][k >> 1] << 16 | states->low[k & 1][k >> 1];
        lanes[k] = (2 * bits + 1) << (15 - states->n_front[k & 1][k >> 1]);
    }
    const uint8_t *words = stream->words;
    uint8_t *dst = stream->dst;
    size_t n_steps = stream->n_steps;
    for (; n_steps > 0 && words <= stream->words_end; n_steps--, dst += LANES)
        for (int parity = 0; parity < 2; parity++)
            for (int k = parity; k < LANES; k += 8)
                for (int i = k; i < k + 8; i += 2) /* unrolled by the compiler */
                    words = decode_lane(flat, &lanes[i], words, &dst[i]);
    stream->words = words;
    stream->dst = dst;
    stream->n_steps = n_steps;
    for (int k = 0; k < LANES; k++) {
        uint32_t bits = lanes[k], n_front = 15;
        for (; !(bits & 1); bits >>= 1) n_front--;
        states->low[k & 1][k >> 1] = (uint16_t)(bits >> 1);
        states->front[k & 1][k >> 1] = (uint16_t)(bits >> 17);
        states->n_front[k & 1][k >> 1] = (uint16_t)n_front;
    }
}

void tsr_huffman_decode_lanes_scalar(const huffman_code *code, lane_stream *streams, int n_streams) {
    uint16_t flat[1 << MAX_LENGTH];
    tsr_huffman_flat_table(flat, code, MAX_LENGTH);
    for (int i = 0; i < n_streams; i++) decode_stream_scalar(flat, &streams[i]);
}

/* Reads bit strings, most significant bit first; bits past the end are zero. */
typedef struct bit_reader {
    const uint8_t *at, *end;
    uint64_t bits; /* left-aligned */
    unsigned n;    /* valid bits, zeros past the end included */
    size_t n_past; /* bytes past the end that were read as zero */
} bit_reader;

/* Makes at least 56 bits valid. */
TSR_INLINE void refill(bit_reader *r) {
    if (TSR_LIKELY(r->end - r->at >= 8)) {
        r->bits |= tsr_load64_be(r->at) >> r->n;
        r->at += (63 - r->n) >> 3;
        r->n |= 56;
        return;
    }
    while (r->n <= 56) {
        if (r->at < r->end) r->bits |= (uint64_t)*r->at++ << (56 - r->n);
        else r->n_past++;
        r->n += 8;
    }
}

/* Whether exactly the last byte was reached and all that is left in it is zero. */
static tsr_result check_end(const bit_reader *r) {
    const size_t n_left = r->n + 8 * (size_t)(r->end - r->at); /* bits, those past the end included */
    if (n_left < 8 * r->n_past) return TSR_ERR_STREAM_SHORT;
    if (n_left - 8 * r->n_past >= 8) return TSR_ERR_STREAM_LONG;
    /* The bits below the n valid ones may hold a byte that at has not passed yet. */
    if (r->n && r->bits >> (64 - r->n)) return TSR_ERR_PADDING;
    return TSR_OK;
}

/* Two symbols a lookup where their codes fit: symbols | bits << 16 | number of symbols << 24. Lookups wait for
 * each other, so that fewer are faster, but this table takes time to fill in. */
static void fill_pairs(uint32_t *pairs, const uint16_t *flat, int n_bits) {
    unsigned first = 0, length = 0;
    for (size_t i = 0, width; i < (size_t)1 << n_bits; i += width) {
        const unsigned first_before = first, length_before = length;
        first = flat[i] >> 8;
        length = flat[i] & 31;
        width = (size_t)1 << ((unsigned)n_bits - length);
        if (length == length_before) {
            for (size_t j = i; j < i + width; j++) pairs[j] = pairs[j - width] - first_before + first;
            continue;
        }
        for (size_t j = 0; j < width; j++) {
            const unsigned next = flat[j << length], both = length + (next & 31);
            pairs[i + j] = both <= (unsigned)n_bits ? 2u << 24 | both << 16 | (next & 0xFF00) | first
                                                    : 1u << 24 | length << 16 | first;
        }
    }
}

/* From so many bytes on, which have five bits or less each, pairs win back the time it takes to fill them in. */
#define PAIRS_MIN 2048

static tsr_result decode_one_lane(uint8_t *dst, size_t n, const huffman_code *code, const uint8_t *src,
                                  size_t src_len) {
    uint16_t flat[1 << MAX_LENGTH];
    bit_reader r = {src, src + src_len, 0, 0, 0};
    const int shift = 64 - code->max_length;
    size_t i = 0;
    tsr_huffman_flat_table(flat, code, code->max_length);
    /* Five lookups of at most 11 bits fit in 56. */
    if (n >= PAIRS_MIN && src_len <= n / 8 * 5) {
        uint32_t pairs[1 << MAX_LENGTH];
        fill_pairs(pairs, flat, code->max_length);
        while (n - i >= 10) {
            refill(&r);
            for (int k = 0; k < 5; k++) {
                const uint32_t entry = pairs[r.bits >> shift];
                tsr_store16(dst + i, (uint16_t)entry);
                i += entry >> 24;
                r.bits <<= entry >> 16 & 31;
                r.n -= entry >> 16 & 31;
            }
            if (TSR_UNLIKELY(r.n_past > 8)) return TSR_ERR_STREAM_SHORT;
        }
    }
#define DECODE_ONE()                                     \
    do {                                                 \
        const unsigned entry = flat[r.bits >> shift];    \
        dst[i++] = (uint8_t)(entry >> 8);                \
        r.bits <<= entry & 31;                           \
        r.n -= entry & 31;                               \
    } while (0)
    while (n - i >= 5) {
        refill(&r);
        for (int k = 0; k < 5; k++) DECODE_ONE();
        if (TSR_UNLIKELY(r.n_past > 8)) return TSR_ERR_STREAM_SHORT;
    }
    refill(&r);
    while (i < n) DECODE_ONE();
#undef DECODE_ONE
    return check_end(&r);
}

static tsr_result read_states(lane_stream *streams, int n_streams, const uint8_t *src, size_t src_len) {
    bit_reader r = {src, src + src_len, 0, 0, 0};
    for (int i = 0; i < n_streams; i++) {
        lane_states *states = &streams[i].states;
        for (int k = 0; k < LANES; k++) {
            refill(&r);
            const unsigned n_front = (unsigned)(r.bits >> 60);
            const uint64_t buffer = r.bits << 4 >> (48 - n_front);
            states->n_front[k & 1][k >> 1] = (uint16_t)n_front;
            states->front[k & 1][k >> 1] = (uint16_t)(buffer >> 16);
            states->low[k & 1][k >> 1] = (uint16_t)buffer;
            r.bits <<= 20 + n_front;
            r.n -= 20 + n_front;
        }
        /* Each stream's states end on a whole byte. */
        const unsigned n_padding = r.n & 7;
        if (n_padding && r.bits >> (64 - n_padding)) return TSR_ERR_PADDING;
        r.bits <<= n_padding;
        r.n -= n_padding;
    }
    const tsr_result rc = check_end(&r);
    return rc == TSR_OK ? TSR_OK : TSR_ERR_LANE_STATE;
}

/* After the last step: all words used, 16 bits in every lane, which are the tail. */
static tsr_result finish_stream(const lane_stream *stream, size_t n_tail) {
    uint8_t tail[TAIL_BYTES];
    if (stream->words > stream->words_end || stream->n_steps) return TSR_ERR_STREAM_SHORT;
    if (stream->words < stream->words_end) return TSR_ERR_STREAM_LONG;
    for (int k = 0; k < LANES; k++) {
        if (stream->states.n_front[k & 1][k >> 1]) return TSR_ERR_LANE_STATE;
        tail[2 * k] = (uint8_t)(stream->states.low[k & 1][k >> 1] >> 8);
        tail[2 * k + 1] = (uint8_t)stream->states.low[k & 1][k >> 1];
    }
    for (size_t i = n_tail; i < TAIL_BYTES; i++)
        if (tail[i]) return TSR_ERR_PADDING;
    memcpy(stream->dst, tail, n_tail);
    return TSR_OK;
}

static tsr_result decode_lanes(uint8_t *dst, size_t n, const huffman_code *code, const uint8_t *src,
                               size_t src_len, int n_streams) {
    lane_stream streams[2];
    size_t n_tail[2];
    const size_t n_first = n_streams == 1 ? n : n / 128 * 64;
    const uint8_t *const end = src + src_len;

    if (n < (size_t)(128 * n_streams) || src_len < (size_t)n_streams * (3 + STATES_BYTES_MIN))
        return TSR_ERR_PLANE_SIZE;
    const uint8_t *words = src + 3 * n_streams;
    for (int i = 0; i < n_streams; i++) {
        const size_t n_words_bytes = 2 * (size_t)tsr_load24(src + 3 * i);
        const size_t length = i == 0 ? n_first : n - n_first;
        if ((size_t)(end - words) < n_words_bytes + (size_t)n_streams * STATES_BYTES_MIN)
            return TSR_ERR_STREAM_SHORT;
        n_tail[i] = 64 + length % 64;
        streams[i].words = words;
        streams[i].words_end = words += n_words_bytes;
        streams[i].dst = dst + (i == 0 ? 0 : n_first);
        streams[i].n_steps = (length - n_tail[i]) / LANES;
    }
    tsr_result rc = read_states(streams, n_streams, words, (size_t)(end - words));
    if (rc != TSR_OK) return rc;
    tsr_huffman_active()->decode_lanes(code, streams, n_streams);
    for (int i = 0; i < n_streams && rc == TSR_OK; i++) rc = finish_stream(&streams[i], n_tail[i]);
    return rc;
}

tsr_result tsr_huffman_decode(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int mode) {
    huffman_code code;
    size_t n_table;
    const tsr_result rc = tsr_huffman_table_read(&code, src, src_len, &n_table);
    if (rc != TSR_OK) return rc;
    src += n_table;
    src_len -= n_table;
    if (mode == PLANE_ONE_LANE) return decode_one_lane(dst, n, &code, src, src_len);
    return decode_lanes(dst, n, &code, src, src_len, mode == PLANE_LANES ? 1 : 2);
}
