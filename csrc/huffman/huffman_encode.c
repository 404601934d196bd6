/* From bytes to Huffman data: layout, counts, scalar kernels. */
#include "huffman_internal.h"

/* Counts of a sample stand for so many. */
#define SAMPLE_WEIGHT 8

/* Pieces of a sample that are fetched before they are counted: processors do not see strides so wide coming. */
#define PIECES_AHEAD 6

/* Eight tables, so that equal bytes close together do not wait for each other's store. */
void tsr_huffman_histogram_scalar(uint32_t counts[256], const uint8_t *src, size_t src_len, size_t piece,
                                  size_t stride) {
    uint32_t tables[8][256];
    memset(tables, 0, sizeof tables);
    for (size_t start = 0; start < src_len; start += stride) {
        const size_t end = src_len - start < piece ? src_len : start + piece;
        size_t i = start;
        if (piece < stride && src_len - start > (PIECES_AHEAD + 1) * stride)
            for (size_t line = 0; line < piece; line += 64) TSR_PREFETCH(src + start + PIECES_AHEAD * stride + line);
        for (; i + 16 <= end; i += 16) {
            for (int k = 0; k < 8; k++) {
                tables[k][src[i + (size_t)k]]++;
                tables[k][src[i + 8 + (size_t)k]]++;
            }
        }
        for (; i < end; i++) tables[0][src[i]]++;
    }
    for (int s = 0; s < 256; s++) {
        uint32_t sum = 0;
        for (int k = 0; k < 8; k++) sum += tables[k][s];
        counts[s] = sum;
    }
}

size_t tsr_huffman_count_unseen_scalar(uint32_t counts[256], const uint8_t *src, size_t src_len,
                                       const uint8_t unseen[256], size_t enough) {
    size_t n_unseen = 0;
    for (size_t i = 0; i < src_len && n_unseen <= enough; i++) {
        if (TSR_LIKELY(!unseen[src[i]])) continue;
        counts[src[i]]++;
        n_unseen++;
    }
    return n_unseen;
}

typedef struct encoder_lane {
    uint64_t bits;
    unsigned n;
} encoder_lane;

/* Puts a code (length << 12 | code) in front of a lane. Storing always and moving the pointer only when due
 * leaves no branch to mispredict; what is below `words` is free, for words not yet written or as slack. */
TSR_INLINE uint8_t *encode_lane(encoder_lane *lane, unsigned entry, uint8_t *words) {
    const uint64_t joined = (uint64_t)(entry & 0xFFF) << lane->n | lane->bits;
    const unsigned n = lane->n + (entry >> 12);
    const unsigned n_out = n >> 1 & 16; /* 16 when n >= 32, else 0 */
    tsr_store16(words - 2, (uint16_t)joined);
    lane->bits = joined >> n_out;
    lane->n = n - n_out;
    return words - (n_out >> 3);
}

static uint8_t *encode_lanes_scalar(const huffman_codewords *codewords, const uint8_t *src, size_t n_steps,
                                    lane_states *states, uint8_t *words_end) {
    uint8_t *words = words_end;
    encoder_lane lanes[LANES];
    for (int k = 0; k < LANES; k++) {
        lanes[k].bits = (uint32_t)states->front[k & 1][k >> 1] << 16 | states->low[k & 1][k >> 1];
        lanes[k].n = 16u + states->n_front[k & 1][k >> 1];
    }
    for (size_t step = n_steps; step-- > 0;) {
        const uint8_t *in = src + step * LANES;
        for (int parity = 1; parity >= 0; parity--)
            for (int k = LANES - 2 + parity; k >= 0; k -= 8)
                for (int i = k; i > k - 8; i -= 2) /* unrolled by the compiler */
                    words = encode_lane(&lanes[i], codewords->entry[in[i]], words);
    }
    for (int k = 0; k < LANES; k++) {
        states->low[k & 1][k >> 1] = (uint16_t)lanes[k].bits;
        states->front[k & 1][k >> 1] = (uint16_t)(lanes[k].bits >> 16);
        states->n_front[k & 1][k >> 1] = (uint16_t)(lanes[k].n - 16);
    }
    return words;
}

const huffman_kernels tsr_huffman_scalar = {
    TSR_CPU_SCALAR,
    tsr_huffman_histogram_scalar,
    tsr_huffman_count_unseen_scalar,
    encode_lanes_scalar,
    tsr_huffman_decode_lanes_scalar,
};

static const huffman_kernels *active = &tsr_huffman_scalar;

const huffman_kernels *tsr_huffman_active(void) { return active; }

void tsr_huffman_install(int path) {
    active = &tsr_huffman_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_huffman_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_huffman_avx512;
#elif TSR_ARM64
    if (path == TSR_CPU_NEON) active = &tsr_huffman_neon;
#endif
    (void)path;
}

int tsr_huffman_kernel_path(void) { return active->path; }

void tsr_huffman_histogram(uint32_t counts[256], const uint8_t *src, size_t src_len) {
    active->histogram(counts, src, src_len, src_len, src_len);
}

static uint8_t *encode_one_lane(uint8_t *dst, const huffman_codewords *codewords, const uint8_t *src,
                                size_t n) {
    bit_writer w = {dst, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t joined = 0;
        unsigned length = 0;
        for (int k = 0; k < 4; k++) {
            const unsigned entry = codewords->entry[src[i + k]];
            joined = joined << (entry >> 12) | (entry & 0xFFF);
            length += entry >> 12;
        }
        put_bits(&w, joined, length);
    }
    for (; i < n; i++) put_bits(&w, codewords->entry[src[i]] & 0xFFF, codewords->entry[src[i]] >> 12);
    return finish_bits(&w);
}

/* Encoder start: the last 64 to 127 bytes of a stream fill the lanes' first 16 bits. */
static void states_from_tail(lane_states *states, const uint8_t *tail, size_t n_tail) {
    uint8_t padded[TAIL_BYTES] = {0};
    memcpy(padded, tail, n_tail);
    memset(states, 0, sizeof *states);
    for (int k = 0; k < LANES; k++)
        states->low[k & 1][k >> 1] = (uint16_t)(padded[2 * k] << 8 | padded[2 * k + 1]);
}

static uint8_t *write_states(uint8_t *dst, const lane_states *states) {
    bit_writer w = {dst, 0, 0};
    for (int k = 0; k < LANES; k++) {
        const unsigned n_front = states->n_front[k & 1][k >> 1];
        const uint64_t bits = (uint64_t)states->front[k & 1][k >> 1] << 16 | states->low[k & 1][k >> 1];
        put_bits(&w, (uint64_t)n_front << (16 + n_front) | bits, 20 + n_front);
    }
    return finish_bits(&w);
}

/* Words are made from the end of the room for them, the last stream's first, so that they lie in order;
 * then they move down to where they belong, and the states follow. */
static uint8_t *encode_lanes(uint8_t *dst, uint8_t *dst_end, const huffman_codewords *codewords,
                             const uint8_t *src, size_t n, int n_streams) {
    const size_t n_first = n_streams == 1 ? 0 : n / 128 * 64;
    const size_t starts[2] = {n_streams == 1 ? 0 : n_first, 0};
    lane_states states[2];
    uint8_t *words = dst_end;
    size_t end = n;
    for (int i = 0; i < n_streams; i++) { /* last stream first */
        const size_t start = starts[i], length = end - start, n_tail = 64 + length % 64;
        const int stream = n_streams - 1 - i;
        states_from_tail(&states[stream], src + end - n_tail, n_tail);
        uint8_t *first = active->encode_lanes(codewords, src + start, (length - n_tail) / LANES,
                                              &states[stream], words);
        tsr_store24(dst + 3 * stream, (uint32_t)((size_t)(words - first) / 2));
        words = first;
        end = start;
    }
    dst += 3 * n_streams;
    const size_t n_words_bytes = (size_t)(dst_end - words);
    memmove(dst, words, n_words_bytes);
    dst += n_words_bytes;
    for (int stream = 0; stream < n_streams; stream++) dst = write_states(dst, &states[stream]);
    return dst;
}

/*
 * Counts to make a code from: exact for small planes, else estimates. Every byte value that occurs has a
 * count above zero: those that the sample missed are counted in all of the plane. When they are many the
 * sample was no good, and all is counted. Returns the sum of the counts.
 */
uint64_t tsr_huffman_estimate_counts(uint32_t counts[256], const uint8_t *src, size_t n, int exact) {
    uint64_t total = 0;
    exact |= n < SAMPLED_MIN;
    if (!exact) {
        uint8_t unseen[256];
        active->histogram(counts, src, n, SAMPLE_PIECE, SAMPLE_STRIDE);
        for (int s = 0; s < 256; s++) {
            unseen[s] = counts[s] ? 0 : 0xFF;
            counts[s] *= SAMPLE_WEIGHT;
        }
        exact = active->count_unseen(counts, src, n, unseen, n / 64) > n / 64;
    }
    if (exact) active->histogram(counts, src, n, n, n);
    for (int s = 0; s < 256; s++) total += counts[s];
    return total;
}

size_t tsr_huffman_plan(huffman_plan *plan, const uint32_t counts[256], uint64_t total, size_t n) {
    uint64_t n_bits = 0;
    tsr_huffman_code_lengths(plan->lengths, counts);
    for (int s = 0; s < 256; s++) n_bits += (uint64_t)counts[s] * plan->lengths[s];
    plan->n_table = tsr_huffman_table_write(plan->table, plan->lengths);
    return plan->n_table + (size_t)(n_bits * n / total / 8);
}

size_t tsr_huffman_encode(uint8_t *dst, size_t dst_cap, const huffman_plan *plan, const uint8_t *src, size_t n,
                          int mode) {
    huffman_codewords codewords;
    uint8_t *end;
    tsr_huffman_codewords(&codewords, plan->lengths);
    memcpy(dst, plan->table, plan->n_table);
    uint8_t *const coded = dst + plan->n_table;
    if (mode == PLANE_ONE_LANE) end = encode_one_lane(coded, &codewords, src, n);
    else end = encode_lanes(coded, dst + dst_cap, &codewords, src, n, mode == PLANE_LANES ? 1 : 2);
    return (size_t)(end - dst);
}
