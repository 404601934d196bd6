/* NEON kernels of the 64-lane layout: one step is four groups of 16 lanes, whose states stay in memory. */
#include "huffman_internal.h"

#if TSR_ARM64
#include <arm_neon.h>

#define GROUPS (LANES / 16)

/*
 * Sixteen lanes as lane_states has them, but for `n`: one byte a lane, even lanes in the low bytes of 16-bit
 * elements. A shift by register takes its count from the low byte and ignores the high one, so that `n` is
 * the count for even lanes as it is. While decoding, `front` may have bits above its n that were taken.
 */
typedef struct lanes16 {
    uint16x8_t front[2], low[2];
    uint8x16_t n;
} lanes16;

TSR_INLINE uint16x8_t shift(uint16x8_t x, uint8x16_t counts, int parity) {
    const uint16x8_t c = vreinterpretq_u16_u8(counts);
    return vshlq_u16(x, vreinterpretq_s16_u16(parity ? vshrq_n_u16(c, 8) : c));
}

TSR_INLINE uint8x16_t join_low_bytes(uint16x8_t even, uint16x8_t odd) {
    return vtrn1q_u8(vreinterpretq_u8_u16(even), vreinterpretq_u8_u16(odd));
}

TSR_INLINE uint8x16_t join_high_bytes(uint16x8_t even, uint16x8_t odd) {
    return vtrn2q_u8(vreinterpretq_u8_u16(even), vreinterpretq_u8_u16(odd));
}

/* A mask of 16 lanes as the mask of those of one parity. */
TSR_INLINE uint16x8_t mask_of(uint8x16_t mask, int parity) {
    return vreinterpretq_u16_u8(parity ? vtrn2q_u8(mask, mask) : vtrn1q_u8(mask, mask));
}

static void load_lanes(lanes16 lanes[GROUPS], const lane_states *states) {
    for (int i = 0; i < GROUPS; i++) {
        for (int parity = 0; parity < 2; parity++) {
            lanes[i].front[parity] = vld1q_u16(states->front[parity] + 8 * i);
            lanes[i].low[parity] = vld1q_u16(states->low[parity] + 8 * i);
        }
        lanes[i].n = join_low_bytes(vld1q_u16(states->n_front[0] + 8 * i), vld1q_u16(states->n_front[1] + 8 * i));
    }
}

static void store_lanes(lane_states *states, const lanes16 lanes[GROUPS]) {
    for (int i = 0; i < GROUPS; i++) {
        for (int parity = 0; parity < 2; parity++) {
            const uint16x8_t taken = shift(vdupq_n_u16(0xFFFF), lanes[i].n, parity);
            const uint16x8_t n = vreinterpretq_u16_u8(lanes[i].n);
            vst1q_u16(states->front[parity] + 8 * i, vbicq_u16(lanes[i].front[parity], taken));
            vst1q_u16(states->low[parity] + 8 * i, lanes[i].low[parity]);
            vst1q_u16(states->n_front[parity] + 8 * i,
                      parity ? vshrq_n_u16(n, 8) : vandq_u16(n, vdupq_n_u16(0x00FF)));
        }
    }
}

/* Which lanes take or give a word: for each eight in the order of their words (the even lanes of groups 0 to 3,
 * then the odd ones) a byte with a bit a lane, and the bytes that the words up to and with these eight take. */
typedef struct word_lanes {
    uint64_t masks, ends;
} word_lanes;

TSR_INLINE word_lanes find_word_lanes(const uint8x16_t masks[GROUPS]) {
    static const uint8_t weights[16] = {1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128};
    static const uint8_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    uint16x8_t bits[GROUPS];
    for (int i = 0; i < GROUPS; i++) bits[i] = vreinterpretq_u16_u8(vandq_u8(masks[i], vld1q_u8(weights)));
    uint16x8_t sums = vpaddq_u16(vpaddq_u16(bits[0], bits[1]), vpaddq_u16(bits[2], bits[3]));
    sums = vpaddq_u16(sums, sums);
    const uint8x8_t bytes = vqtbl1_u8(vreinterpretq_u8_u16(sums), vld1_u8(order));
    word_lanes w;
    w.masks = vget_lane_u64(vreinterpret_u64_u8(bytes), 0);
    /* The product has in every byte the sum of the bytes up to it, doubled; none exceeds 128. */
    w.ends = vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(bytes)), 0) * 0x0202020202020202u;
    return w;
}

/* ---- Decoding -------------------------------------------------------------------------------- */

typedef struct decode_tables {
    uint8x16_t words[256];    /* by mask: indices that give its lanes the bytes of the next words, and no others any */
    uint8x16x4_t length;      /* by the window's first 6 bits; 7 for all longer codes */
    uint8x16_t last7, last8;  /* largest first byte of a window with a code of at most so many bits */
    uint16x8_t last9, last10; /* largest window */
    uint8x16_t delta;         /* by length: first code - its rank */
    uint8x16x4_t symbol[4];   /* by rank in canonical order */
    int n_quarters;           /* of `symbol` in use */
} decode_tables;

static void make_decode_tables(decode_tables *t, const huffman_code *code) {
    uint8_t length[64], delta[16] = {0};
    size_t at = 0;
    for (int l = 1; l <= 6; l++) {
        const size_t n_codes = (size_t)(code->first_index[l + 1] - code->first_index[l]);
        memset(length + at, l, n_codes << (6 - l));
        at += n_codes << (6 - l);
    }
    /* When all codes have eight bits no window is below the first of them. */
    memset(length + at, code->limit[8] ? 7 : 8, 64 - at);
    for (int l = 1; l <= code->max_length; l++)
        delta[l] = (uint8_t)(code->first_code[l] - code->first_index[l]);
    t->length = vld1q_u8_x4(length);
    t->last7 = vdupq_n_u8((uint8_t)((code->limit[8] - 1) >> 8));
    t->last8 = vdupq_n_u8((uint8_t)((code->limit[9] - 1) >> 8));
    t->last9 = vdupq_n_u16((uint16_t)(code->limit[10] - 1));
    t->last10 = vdupq_n_u16((uint16_t)(code->limit[11] - 1));
    t->delta = vld1q_u8(delta);
    for (int q = 0; q < 4; q++) t->symbol[q] = vld1q_u8_x4(code->sorted + 64 * q);
    t->n_quarters = (code->first_index[MAX_LENGTH + 1] + 63) / 64;

    /* One lane more in front of the others: it takes none, or it takes the first word and they the ones after. */
    const uint8x16_t none = vdupq_n_u8(0xFF), first = vreinterpretq_u8_u16(vdupq_n_u16(0x0100));
    t->words[0] = none;
    for (int m = 0; m < 128; m++) {
        const uint8x16_t others = t->words[m];
        t->words[2 * m] = vextq_u8(none, others, 14);
        t->words[2 * m + 1] = vextq_u8(first, vqaddq_u8(others, vdupq_n_u8(2)), 14);
    }
}

/* One step of one stream; returns the next word. */
TSR_INLINE const uint8_t *decode_step(const decode_tables *t, lanes16 lanes[GROUPS], const uint8_t *words,
                                      uint8_t *dst) {
    const uint8x16_t sixteen = vdupq_n_u8(16);
    uint8x16_t rank[GROUPS], low[GROUPS], out[GROUPS];
    for (int i = 0; i < GROUPS; i++) {
        lanes16 *const l = &lanes[i];
        const uint8x16_t to_left = vsubq_u8(sixteen, l->n), to_right = vsubq_u8(vdupq_n_u8(0), l->n);
        uint16x8_t window[2];
        for (int parity = 0; parity < 2; parity++)
            window[parity] = vorrq_u16(shift(l->front[parity], to_left, parity),
                                       shift(l->low[parity], to_right, parity));
        /* A comparison that holds is -1. */
        const uint8x16_t first = join_high_bytes(window[0], window[1]);
        uint8x16_t length = vqtbl4q_u8(t->length, vshrq_n_u8(first, 2));
        length = vsubq_u8(length, vcgtq_u8(first, t->last7));
        length = vsubq_u8(length, vcgtq_u8(first, t->last8));
        uint16x8_t longer[2];
        for (int parity = 0; parity < 2; parity++)
            longer[parity] = vaddq_u16(vcgtq_u16(window[parity], t->last9), vcgtq_u16(window[parity], t->last10));
        length = vreinterpretq_u8_s8(vqsubq_s8(vreinterpretq_s8_u8(length),
                                     vreinterpretq_s8_u8(join_low_bytes(longer[0], longer[1]))));
        /* The code's bits, right-aligned; its rank is 8 bits wide, so higher bits may be dropped. */
        const uint8x16_t to_code = vsubq_u8(length, sixteen);
        const uint8x16_t codes = join_low_bytes(shift(window[0], to_code, 0), shift(window[1], to_code, 1));
        rank[i] = vsubq_u8(codes, vqtbl1q_u8(t->delta, length));
        /* Words are never shifted: `low` becomes `front`, and the new word is `low`. */
        const uint8x16_t n = vsubq_u8(l->n, length);
        low[i] = vcltzq_s8(vreinterpretq_s8_u8(n));
        l->n = vandq_u8(n, vdupq_n_u8(15));
        for (int parity = 0; parity < 2; parity++)
            l->front[parity] = vbslq_u16(mask_of(low[i], parity), l->low[parity], l->front[parity]);
    }
    const word_lanes taken = find_word_lanes(low);
    const uint64_t starts = taken.ends << 8;
    for (int i = 0; i < 2 * GROUPS; i++) {
        uint16x8_t *const l = &lanes[i % GROUPS].low[i / GROUPS];
        const uint8x16_t next = vld1q_u8(words + (starts >> (8 * i) & 0xFF));
        *l = vreinterpretq_u16_u8(
            vqtbx1q_u8(vreinterpretq_u8_u16(*l), next, t->words[taken.masks >> (8 * i) & 0xFF]));
    }
    for (int i = 0; i < GROUPS; i++) out[i] = vqtbl4q_u8(t->symbol[0], rank[i]);
    for (int q = 1; q < t->n_quarters; q++)
        for (int i = 0; i < GROUPS; i++) {
            rank[i] = vsubq_u8(rank[i], vdupq_n_u8(64));
            out[i] = vqtbx4q_u8(out[i], t->symbol[q], rank[i]);
        }
    for (int i = 0; i < GROUPS; i++) vst1q_u8(dst + 16 * i, out[i]);
    return words + (taken.ends >> 56);
}

static void decode_lanes_neon(const huffman_code *code, lane_stream *streams, int n_streams) {
    decode_tables t;
    lanes16 lanes[2][GROUPS];
    make_decode_tables(&t, code);
    for (int i = 0; i < n_streams; i++) load_lanes(lanes[i], &streams[i].states);
    for (int busy = 1; busy;) {
        busy = 0;
        for (int i = 0; i < n_streams; i++) {
            lane_stream *const s = &streams[i];
            if (!s->n_steps || s->words > s->words_end) continue;
            s->words = decode_step(&t, lanes[i], s->words, s->dst);
            s->dst += LANES;
            s->n_steps--;
            busy = 1;
        }
    }
    for (int i = 0; i < n_streams; i++) store_lanes(&streams[i].states, lanes[i]);
}

/* ---- Counting -------------------------------------------------------------------------------- */

static size_t count_unseen_neon(uint32_t counts[256], const uint8_t *src, size_t src_len,
                                const uint8_t unseen[256], size_t enough) {
    uint8x16x4_t table[4];
    size_t n_unseen = 0, i = 0;
    for (int q = 0; q < 4; q++) table[q] = vld1q_u8_x4(unseen + 64 * q);
    for (; i + 64 <= src_len && n_unseen <= enough; i += 64) {
        uint8x16_t found = vdupq_n_u8(0);
        for (int k = 0; k < 64; k += 16) {
            uint8x16_t in = vld1q_u8(src + i + k);
            for (int q = 0; q < 4; q++) {
                found = vorrq_u8(found, vqtbl4q_u8(table[q], in));
                in = vsubq_u8(in, vdupq_n_u8(64));
            }
        }
        if (TSR_UNLIKELY(vmaxvq_u8(found)))
            n_unseen += tsr_huffman_count_unseen_scalar(counts, src + i, 64, unseen, 64);
    }
    if (n_unseen > enough) return n_unseen;
    return n_unseen + tsr_huffman_count_unseen_scalar(counts, src + i, src_len - i, unseen, enough - n_unseen);
}

/* ---- Encoding -------------------------------------------------------------------------------- */

/* Code words of 64 neighbouring symbols: length << 4 | highest bits of the code, and its low byte. */
typedef struct encode_quarter {
    uint8x16x4_t high, low;
    uint8x16_t first; /* symbol */
} encode_quarter;

typedef struct encode_tables {
    uint8x16_t words[256]; /* by mask: indices that move its lanes to the end of a vector */
    encode_quarter quarters[4]; /* those with any symbol */
    int n_quarters;
} encode_tables;

static void make_encode_tables(encode_tables *t, const huffman_codewords *codewords) {
    t->n_quarters = 0;
    for (int first = 0; first < 256; first += 64) {
        uint8_t low[64], high[64];
        unsigned any = 0;
        for (int s = 0; s < 64; s++) {
            const unsigned entry = codewords->entry[first + s];
            low[s] = (uint8_t)entry;
            high[s] = (uint8_t)(entry >> 8);
            any |= entry;
        }
        if (!any) continue;
        encode_quarter *const q = &t->quarters[t->n_quarters++];
        q->low = vld1q_u8_x4(low);
        q->high = vld1q_u8_x4(high);
        q->first = vdupq_n_u8((uint8_t)first);
    }
    /* One lane more after the others: it is the last, and they move down. */
    t->words[0] = vdupq_n_u8(0);
    for (unsigned k = 0; k < 8; k++) {
        const uint8x16_t lane = vreinterpretq_u8_u16(vdupq_n_u16((uint16_t)((2 * k + 1) << 8 | 2 * k)));
        for (int m = 0; m < 1 << k; m++) t->words[(1 << k) + m] = vextq_u8(t->words[m], lane, 2);
    }
}

/* One step: puts a code in front of every lane, emits words downwards where lanes fill. */
TSR_INLINE uint8_t *encode_step(const encode_tables *t, lanes16 lanes[GROUPS], const uint8_t *src,
                                uint8_t *words_end) {
    uint8x16_t in[GROUPS], low[GROUPS], high[GROUPS], full[GROUPS];
    uint16x8_t emitted[2 * GROUPS];
    for (int i = 0; i < GROUPS; i++) {
        in[i] = vld1q_u8(src + 16 * i);
        low[i] = high[i] = vdupq_n_u8(0);
    }
    for (int q = 0; q < t->n_quarters; q++)
        for (int i = 0; i < GROUPS; i++) {
            const uint8x16_t index = vsubq_u8(in[i], t->quarters[q].first);
            low[i] = vqtbx4q_u8(low[i], t->quarters[q].low, index);
            high[i] = vqtbx4q_u8(high[i], t->quarters[q].high, index);
        }
    for (int i = 0; i < GROUPS; i++) {
        lanes16 *const l = &lanes[i];
        const uint8x16_t code_high = vandq_u8(high[i], vdupq_n_u8(15)), to_right = vsubq_u8(l->n, vdupq_n_u8(16));
        const uint8x16_t n = vaddq_u8(l->n, vshrq_n_u8(high[i], 4));
        full[i] = vtstq_u8(n, vdupq_n_u8(16));
        for (int parity = 0; parity < 2; parity++) {
            const uint16x8_t code = vreinterpretq_u16_u8(parity ? vtrn2q_u8(low[i], code_high)
                                                                : vtrn1q_u8(low[i], code_high));
            const uint16x8_t joined = vorrq_u16(l->front[parity], shift(code, l->n, parity));
            const uint16x8_t mask = mask_of(full[i], parity);
            emitted[i + GROUPS * parity] = l->low[parity];
            l->low[parity] = vbslq_u16(mask, joined, l->low[parity]);
            l->front[parity] = vbslq_u16(mask, shift(code, to_right, parity), joined);
        }
        l->n = vandq_u8(n, vdupq_n_u8(15));
    }
    const word_lanes given = find_word_lanes(full);
    uint8_t *const words = words_end - (given.ends >> 56);
    /* The rest of each vector lies before its words, where the next one overwrites it. */
    for (int i = 2 * GROUPS - 1; i >= 0; i--)
        vst1q_u8(words + (given.ends >> (8 * i) & 0xFF) - 16,
                 vqtbl1q_u8(vreinterpretq_u8_u16(emitted[i]), t->words[given.masks >> (8 * i) & 0xFF]));
    return words;
}

static uint8_t *encode_lanes_neon(const huffman_codewords *codewords, const uint8_t *src, size_t n_steps,
                                  lane_states *states, uint8_t *words_end) {
    encode_tables t;
    lanes16 lanes[GROUPS];
    make_encode_tables(&t, codewords);
    load_lanes(lanes, states);
    while (n_steps-- > 0) words_end = encode_step(&t, lanes, src + n_steps * LANES, words_end);
    store_lanes(states, lanes);
    return words_end;
}

const huffman_kernels tsr_huffman_neon = {
    TSR_CPU_NEON,
    tsr_huffman_histogram_scalar,
    count_unseen_neon,
    encode_lanes_neon,
    decode_lanes_neon,
};
#endif
