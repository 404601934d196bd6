/* AVX-512 (VBMI, VBMI2) kernels of the 64-lane layout: one step is one 64-byte register. */
#include "huffman_internal.h"

#if TSR_X86
#include <immintrin.h>

#define TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi,bmi2,popcnt")

/* 256 bytes in four registers, looked up 64 at a time. */
typedef struct table256 {
    __m512i quarter[4];
} table256;

TARGET TSR_INLINE table256 load_table(const uint8_t bytes[256]) {
    table256 t;
    for (int i = 0; i < 4; i++) t.quarter[i] = _mm512_loadu_si512(bytes + 64 * i);
    return t;
}

TARGET TSR_INLINE __m512i lookup(const table256 *t, __m512i index) {
    const __m512i low = _mm512_permutex2var_epi8(t->quarter[0], index, t->quarter[1]);
    const __m512i high = _mm512_permutex2var_epi8(t->quarter[2], index, t->quarter[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

/* Even lanes live in the low bytes of 16-bit elements, odd lanes in the high bytes. */
TARGET TSR_INLINE __m512i join_low_bytes(__m512i even, __m512i odd) {
    const __m512i low_bytes = _mm512_set1_epi16(0x00FF);
    return _mm512_ternarylogic_epi64(low_bytes, even, _mm512_slli_epi16(odd, 8), 0xCA);
}

TARGET TSR_INLINE __m512i join_high_bytes(__m512i even, __m512i odd) {
    const __m512i low_bytes = _mm512_set1_epi16(0x00FF);
    return _mm512_ternarylogic_epi64(low_bytes, _mm512_srli_epi16(even, 8), odd, 0xCA);
}

/* Thirty-two lanes of one parity, in 16-bit elements. */
typedef struct lanes32 {
    __m512i window; /* decoder: next 16 bits; encoder: `front`, right-aligned */
    __m512i rest;   /* decoder: the bits after those, left-aligned; encoder: `low` */
    __m512i n;      /* decoder: valid bits, 16 to 31; encoder: bits in `window`, 0 to 15 */
} lanes32;

/* ---- Decoding -------------------------------------------------------------------------------- */

typedef struct decode_tables {
    table256 length; /* by the window's first 8 bits; 9 for all longer codes */
    table256 symbol; /* by rank in canonical order */
    __m512i delta;   /* by length: first code - its rank */
    __m512i last9;   /* largest window of a 9-bit code or shorter */
    __m512i last10;
} decode_tables;

TARGET static decode_tables make_decode_tables(const huffman_code *code) {
    uint8_t length[256], delta[64] = {0};
    size_t at = 0;
    for (int l = 1; l <= 8; l++) {
        const size_t n_codes = (size_t)(code->first_index[l + 1] - code->first_index[l]);
        memset(length + at, l, n_codes << (8 - l));
        at += n_codes << (8 - l);
    }
    memset(length + at, 9, 256 - at);
    for (int l = 1; l <= code->max_length; l++)
        delta[l] = (uint8_t)(code->first_code[l] - code->first_index[l]);
    decode_tables t;
    t.length = load_table(length);
    t.symbol = load_table(code->sorted);
    t.delta = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)delta));
    t.last9 = _mm512_set1_epi16((short)(code->limit[10] - 1));
    t.last10 = _mm512_set1_epi16((short)(code->limit[11] - 1));
    return t;
}

TARGET TSR_INLINE lanes32 load_decoder(const lane_states *states, int parity) {
    const __m512i front = _mm512_loadu_si512(states->front[parity]);
    const __m512i low = _mm512_loadu_si512(states->low[parity]);
    const __m512i n_front = _mm512_loadu_si512(states->n_front[parity]);
    const __m512i sixteen = _mm512_set1_epi16(16);
    lanes32 l;
    /* (front:low) has 16 + n_front bits: shift it to the top of 32. */
    l.window = _mm512_or_si512(_mm512_sllv_epi16(front, _mm512_sub_epi16(sixteen, n_front)),
                               _mm512_srlv_epi16(low, n_front));
    l.rest = _mm512_sllv_epi16(low, _mm512_sub_epi16(sixteen, n_front));
    l.n = _mm512_add_epi16(n_front, sixteen);
    return l;
}

TARGET TSR_INLINE void store_decoder(lane_states *states, int parity, const lanes32 *l) {
    const __m512i sixteen = _mm512_set1_epi16(16);
    const __m512i n_front = _mm512_sub_epi16(l->n, sixteen);
    const __m512i n_unused = _mm512_sub_epi16(sixteen, n_front);
    _mm512_storeu_si512(states->front[parity], _mm512_srlv_epi16(l->window, n_unused));
    _mm512_storeu_si512(states->low[parity], _mm512_or_si512(_mm512_sllv_epi16(l->window, n_front),
                                                             _mm512_srlv_epi16(l->rest, n_unused)));
    _mm512_storeu_si512(states->n_front[parity], n_front);
}

/* Takes `length` bits off every lane and refills those that fall below 16; returns the next word. */
TARGET TSR_INLINE const uint8_t *advance(lanes32 *l, __m512i length, const uint8_t *words) {
    const __m512i sixteen = _mm512_set1_epi16(16), zero = _mm512_setzero_si512();
    const __m512i n = _mm512_sub_epi16(l->n, length);
    const __mmask32 low = _mm512_cmplt_epu16_mask(n, sixteen);
    const __m512i word = _mm512_maskz_expand_epi16(low, _mm512_loadu_si512(words));
    l->window = _mm512_or_si512(_mm512_shldv_epi16(l->window, l->rest, length), _mm512_srlv_epi16(word, n));
    l->rest = _mm512_or_si512(_mm512_sllv_epi16(l->rest, length), _mm512_shrdv_epi16(zero, word, n));
    l->n = _mm512_mask_add_epi16(n, low, n, sixteen);
    return words + 2 * (size_t)_mm_popcnt_u32(low);
}

/* One step of one stream; `long_codes`: whether any code is longer than 9 bits. */
TARGET TSR_INLINE const uint8_t *decode_step(const decode_tables *t, int long_codes, lanes32 *even,
                                             lanes32 *odd, const uint8_t *words, uint8_t *dst) {
    const __m512i zero = _mm512_setzero_si512(), one = _mm512_set1_epi16(1);
    __m512i lengths = lookup(&t->length, join_high_bytes(even->window, odd->window));
    __m512i length_even = _mm512_and_si512(lengths, _mm512_set1_epi16(0x00FF));
    __m512i length_odd = _mm512_srli_epi16(lengths, 8);
    if (long_codes) {
        length_even = _mm512_mask_add_epi16(length_even, _mm512_cmpgt_epu16_mask(even->window, t->last9),
                                            length_even, one);
        length_odd = _mm512_mask_add_epi16(length_odd, _mm512_cmpgt_epu16_mask(odd->window, t->last9),
                                           length_odd, one);
        length_even = _mm512_mask_add_epi16(length_even, _mm512_cmpgt_epu16_mask(even->window, t->last10),
                                            length_even, one);
        length_odd = _mm512_mask_add_epi16(length_odd, _mm512_cmpgt_epu16_mask(odd->window, t->last10),
                                           length_odd, one);
        lengths = join_low_bytes(length_even, length_odd);
    }
    /* The code's bits, right-aligned; its rank is 8 bits wide, so higher bits may be dropped. */
    const __m512i codes = join_low_bytes(_mm512_shldv_epi16(zero, even->window, length_even),
                                         _mm512_shldv_epi16(zero, odd->window, length_odd));
    const __m512i rank = _mm512_sub_epi8(codes, _mm512_shuffle_epi8(t->delta, lengths));
    _mm512_storeu_si512(dst, lookup(&t->symbol, rank));
    words = advance(even, length_even, words);
    return advance(odd, length_odd, words);
}

/* Steps that all streams have, as long as none has run out of words. */
TARGET TSR_INLINE void decode_steps(const decode_tables *t, int long_codes, lane_stream *streams,
                                    int n_streams) {
    lanes32 even[2], odd[2];
    const uint8_t *words[2] = {0};
    uint8_t *dst[2] = {0};
    size_t n_common = streams[0].n_steps, step = 0;
    if (n_streams == 2 && streams[1].n_steps < n_common) n_common = streams[1].n_steps;
    for (int i = 0; i < n_streams; i++) {
        even[i] = load_decoder(&streams[i].states, 0);
        odd[i] = load_decoder(&streams[i].states, 1);
        words[i] = streams[i].words;
        dst[i] = streams[i].dst;
    }
    for (; step < n_common; step++) {
        if (TSR_UNLIKELY(words[0] > streams[0].words_end)) break;
        if (n_streams == 2 && TSR_UNLIKELY(words[1] > streams[1].words_end)) break;
        for (int i = 0; i < n_streams; i++)
            words[i] = decode_step(t, long_codes, &even[i], &odd[i], words[i], dst[i] + step * LANES);
    }
    for (int i = 0; i < n_streams; i++) {
        store_decoder(&streams[i].states, 0, &even[i]);
        store_decoder(&streams[i].states, 1, &odd[i]);
        streams[i].words = words[i];
        streams[i].dst += step * LANES;
        streams[i].n_steps -= step;
    }
}

TARGET static void decode_lanes_avx512(const huffman_code *code, lane_stream *streams, int n_streams) {
    const decode_tables t = make_decode_tables(code);
    const int long_codes = code->max_length > 9;
    if (n_streams == 2 && long_codes) decode_steps(&t, 1, streams, 2);
    else if (n_streams == 2) decode_steps(&t, 0, streams, 2);
    else if (long_codes) decode_steps(&t, 1, streams, 1);
    else decode_steps(&t, 0, streams, 1);
    /* The longer of two streams has one step more. */
    for (int i = 0; i < n_streams; i++)
        if (streams[i].n_steps) decode_steps(&t, 1, &streams[i], 1);
}

/* ---- Counting -------------------------------------------------------------------------------- */

TARGET static size_t count_unseen_avx512(uint32_t counts[256], const uint8_t *src, size_t src_len,
                                         const uint8_t unseen[256], size_t enough) {
    const table256 table = load_table(unseen);
    const size_t n_whole = src_len & ~(size_t)63;
    size_t n_unseen = 0;
    for (size_t i = 0; i < n_whole; i += 64) {
        uint64_t found = _mm512_movepi8_mask(lookup(&table, _mm512_loadu_si512(src + i)));
        if (TSR_LIKELY(!found)) continue;
        n_unseen += (size_t)_mm_popcnt_u64(found);
        if (n_unseen > enough) return n_unseen;
        for (; found; found = _blsr_u64(found)) counts[src[i + (size_t)_tzcnt_u64(found)]]++;
    }
    return n_unseen + tsr_huffman_count_unseen_scalar(counts, src + n_whole, src_len - n_whole, unseen,
                                                      enough);
}

/* ---- Encoding -------------------------------------------------------------------------------- */

/* Puts a code (length << 12 | code) in front of every lane; emits words downwards where lanes fill. */
TARGET TSR_INLINE uint8_t *prepend(lanes32 *l, __m512i entry, uint8_t *words) {
    const __m512i sixteen = _mm512_set1_epi16(16), zero = _mm512_setzero_si512();
    const __m512i length = _mm512_srli_epi16(entry, 12);
    const __m512i code = _mm512_and_si512(entry, _mm512_set1_epi16(0x0FFF));
    const __m512i joined = _mm512_or_si512(l->window, _mm512_sllv_epi16(code, l->n));
    const __m512i over = _mm512_shldv_epi16(zero, code, l->n);
    const __m512i n = _mm512_add_epi16(l->n, length);
    const __mmask32 full = _mm512_cmpge_epu16_mask(n, sixteen);
    const unsigned n_words = (unsigned)_mm_popcnt_u32(full);
    words -= 2 * n_words;
    _mm512_mask_storeu_epi16(words, (__mmask32)_bzhi_u32(UINT32_MAX, n_words),
                             _mm512_maskz_compress_epi16(full, l->rest));
    l->rest = _mm512_mask_mov_epi16(l->rest, full, joined);
    l->window = _mm512_mask_mov_epi16(joined, full, over);
    l->n = _mm512_and_si512(n, _mm512_set1_epi16(15));
    return words;
}

TARGET static uint8_t *encode_lanes_avx512(const huffman_codewords *codewords, const uint8_t *src,
                                           size_t n_steps, lane_states *states, uint8_t *words_end) {
    uint8_t low[256], high[256];
    for (int s = 0; s < 256; s++) {
        low[s] = (uint8_t)codewords->entry[s];
        high[s] = (uint8_t)(codewords->entry[s] >> 8);
    }
    const table256 low_bytes = load_table(low), high_bytes = load_table(high);
    lanes32 lanes[2];
    for (int parity = 0; parity < 2; parity++) {
        lanes[parity].window = _mm512_loadu_si512(states->front[parity]);
        lanes[parity].rest = _mm512_loadu_si512(states->low[parity]);
        lanes[parity].n = _mm512_loadu_si512(states->n_front[parity]);
    }
    for (size_t step = n_steps; step-- > 0;) {
        const __m512i in = _mm512_loadu_si512(src + step * LANES);
        const __m512i lows = lookup(&low_bytes, in), highs = lookup(&high_bytes, in);
        const __m512i even = _mm512_ternarylogic_epi64(_mm512_set1_epi16(0x00FF), lows,
                                                       _mm512_slli_epi16(highs, 8), 0xCA);
        const __m512i odd = _mm512_ternarylogic_epi64(_mm512_set1_epi16(0x00FF),
                                                      _mm512_srli_epi16(lows, 8), highs, 0xCA);
        words_end = prepend(&lanes[1], odd, words_end);
        words_end = prepend(&lanes[0], even, words_end);
    }
    for (int parity = 0; parity < 2; parity++) {
        _mm512_storeu_si512(states->front[parity], lanes[parity].window);
        _mm512_storeu_si512(states->low[parity], lanes[parity].rest);
        _mm512_storeu_si512(states->n_front[parity], lanes[parity].n);
    }
    return words_end;
}

const huffman_kernels tsr_huffman_avx512 = {
    TSR_CPU_AVX512,
    tsr_huffman_histogram_scalar,
    count_unseen_avx512,
    encode_lanes_avx512,
    decode_lanes_avx512,
};
#endif
