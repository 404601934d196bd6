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

/* Thirty-two lanes of one parity, in 16-bit elements: a lane_states without the other parity. */
typedef struct lanes32 {
    __m512i front; /* its n low bits come first */
    __m512i low;   /* then these 16 */
    __m512i n;     /* 0 to 15 */
} lanes32;

TARGET TSR_INLINE lanes32 load_lanes(const lane_states *states, int parity) {
    lanes32 l;
    l.front = _mm512_loadu_si512(states->front[parity]);
    l.low = _mm512_loadu_si512(states->low[parity]);
    l.n = _mm512_loadu_si512(states->n_front[parity]);
    return l;
}

TARGET TSR_INLINE void store_lanes(lane_states *states, int parity, const lanes32 *l) {
    _mm512_storeu_si512(states->front[parity], l->front);
    _mm512_storeu_si512(states->low[parity], l->low);
    _mm512_storeu_si512(states->n_front[parity], l->n);
}

/* ---- Decoding -------------------------------------------------------------------------------- */

/* In a canonical code longer codes come after shorter ones. Tables find the shortest, comparisons the rest. */
typedef struct decode_tables {
    __m512i length;      /* by the first 6 bits; the least of more than 6 for all longer codes */
    __m512i last7;       /* largest first byte of a code of 7 bits or fewer */
    __m512i last8;       /* of 8 bits or fewer */
    __m512i last9;       /* largest window, the next 16 bits, of a code of 9 bits or fewer */
    __m512i last10;      /* of 10 bits or fewer */
    __m512i delta;       /* by length: first code - its rank */
    table256 symbol;     /* by rank in canonical order */
} decode_tables;

TARGET static decode_tables make_decode_tables(const huffman_code *code) {
    uint8_t length[64], delta[16] = {0};
    /* Codes of 7 bits and fewer may be missing altogether, and then no first byte is small enough. */
    const int none7 = code->limit[8] == 0;
    size_t at = 0;
    for (int l = 1; l <= 6; l++) {
        const size_t n_codes = (size_t)(code->first_index[l + 1] - code->first_index[l]);
        memset(length + at, l, n_codes << (6 - l));
        at += n_codes << (6 - l);
    }
    memset(length + at, none7 ? 8 : 7, 64 - at);
    for (int l = 1; l <= code->max_length; l++)
        delta[l] = (uint8_t)(code->first_code[l] - code->first_index[l]);
    decode_tables t;
    t.length = _mm512_loadu_si512(length);
    t.last7 = _mm512_set1_epi8((char)(none7 ? 255 : (code->limit[8] - 1) >> 8));
    t.last8 = _mm512_set1_epi8((char)((code->limit[9] - 1) >> 8));
    t.last9 = _mm512_set1_epi16((short)(code->limit[10] - 1));
    t.last10 = _mm512_set1_epi16((short)(code->limit[11] - 1));
    t.delta = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)delta));
    t.symbol = load_table(code->sorted);
    return t;
}

TARGET TSR_INLINE __m512i one_longer(__m512i lengths, __mmask64 which) {
    return _mm512_mask_add_epi8(lengths, which, lengths, _mm512_set1_epi8(1));
}

TARGET TSR_INLINE __m512i one_longer16(__m512i lengths, __m512i window, __m512i last) {
    return _mm512_mask_add_epi16(lengths, _mm512_cmpgt_epu16_mask(window, last), lengths, _mm512_set1_epi16(1));
}

/* Takes `length` bits off every lane and refills those that fall below 16; returns the next word. */
TARGET TSR_INLINE const uint8_t *advance(lanes32 *l, __m512i length, const uint8_t *words) {
    const __m512i n = _mm512_sub_epi16(l->n, length);
    const __mmask32 used_up = _mm512_movepi16_mask(n);
    l->front = _mm512_mask_mov_epi16(l->front, used_up, l->low);
    l->low = _mm512_mask_expand_epi16(l->low, used_up, _mm512_loadu_si512(words));
    l->n = _mm512_and_si512(n, _mm512_set1_epi16(15));
    return words + 2 * (size_t)_mm_popcnt_u32(used_up);
}

/* The symbols of ranks below 64 * n_quarters. */
TARGET TSR_INLINE __m512i symbols_of(const table256 *t, __m512i rank, int n_quarters) {
    if (n_quarters == 1) return _mm512_permutexvar_epi8(rank, t->quarter[0]);
    if (n_quarters == 2) return _mm512_permutex2var_epi8(t->quarter[0], rank, t->quarter[1]);
    return lookup(t, rank);
}

/* One step of one stream; `long_codes`: whether any code may be longer than 9 bits. */
TARGET TSR_INLINE const uint8_t *decode_step(const decode_tables *t, int long_codes, int n_quarters, lanes32 *even,
                                             lanes32 *odd, const uint8_t *words, uint8_t *dst) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i window_even = _mm512_shrdv_epi16(even->low, even->front, even->n);
    const __m512i window_odd = _mm512_shrdv_epi16(odd->low, odd->front, odd->n);
    const __m512i heads = join_high_bytes(window_even, window_odd);
    /* The permutation looks at six bits of each byte only, so that bits from the neighbour do no harm. */
    __m512i lengths = _mm512_permutexvar_epi8(_mm512_srli_epi16(heads, 2), t->length);
    lengths = one_longer(lengths, _mm512_cmpgt_epu8_mask(heads, t->last7));
    lengths = one_longer(lengths, _mm512_cmpgt_epu8_mask(heads, t->last8));
    __m512i length_even = _mm512_and_si512(lengths, _mm512_set1_epi16(0x00FF));
    __m512i length_odd = _mm512_srli_epi16(lengths, 8);
    if (long_codes) {
        length_even = one_longer16(length_even, window_even, t->last9);
        length_odd = one_longer16(length_odd, window_odd, t->last9);
        length_even = one_longer16(length_even, window_even, t->last10);
        length_odd = one_longer16(length_odd, window_odd, t->last10);
        lengths = join_low_bytes(length_even, length_odd);
    }
    /* The code's bits, right-aligned; its rank is 8 bits wide, so higher bits may be dropped. */
    const __m512i codes = join_low_bytes(_mm512_shldv_epi16(zero, window_even, length_even),
                                         _mm512_shldv_epi16(zero, window_odd, length_odd));
    const __m512i rank = _mm512_sub_epi8(codes, _mm512_shuffle_epi8(t->delta, lengths));
    _mm512_storeu_si512(dst, symbols_of(&t->symbol, rank, n_quarters));
    words = advance(even, length_even, words);
    return advance(odd, length_odd, words);
}

/* Steps that all streams have, as long as none has run out of words. */
TARGET TSR_INLINE void decode_steps(const decode_tables *t, int long_codes, int n_quarters, lane_stream *streams,
                                    int n_streams) {
    lanes32 even[2], odd[2];
    const uint8_t *words[2] = {0};
    uint8_t *dst[2] = {0};
    size_t n_common = streams[0].n_steps, step = 0;
    if (n_streams == 2 && streams[1].n_steps < n_common) n_common = streams[1].n_steps;
    for (int i = 0; i < n_streams; i++) {
        even[i] = load_lanes(&streams[i].states, 0);
        odd[i] = load_lanes(&streams[i].states, 1);
        words[i] = streams[i].words;
        dst[i] = streams[i].dst;
    }
    for (; step < n_common; step++) {
        if (TSR_UNLIKELY(words[0] > streams[0].words_end)) break;
        if (n_streams == 2 && TSR_UNLIKELY(words[1] > streams[1].words_end)) break;
        for (int i = 0; i < n_streams; i++)
            words[i] = decode_step(t, long_codes, n_quarters, &even[i], &odd[i], words[i], dst[i] + step * LANES);
    }
    for (int i = 0; i < n_streams; i++) {
        store_lanes(&streams[i].states, 0, &even[i]);
        store_lanes(&streams[i].states, 1, &odd[i]);
        streams[i].words = words[i];
        streams[i].dst += step * LANES;
        streams[i].n_steps -= step;
    }
}

TARGET static void decode_lanes_avx512(const huffman_code *code, lane_stream *streams, int n_streams) {
    const decode_tables t = make_decode_tables(code);
    const int long_codes = code->max_length > 9, n_symbols = code->first_index[MAX_LENGTH + 1];
    if (n_streams == 2) {
        if (!long_codes) decode_steps(&t, 0, 4, streams, 2);
        else if (n_symbols <= 64) decode_steps(&t, 1, 1, streams, 2);
        else if (n_symbols <= 128) decode_steps(&t, 1, 2, streams, 2);
        else decode_steps(&t, 1, 4, streams, 2);
    }
    /* One stream, or what the longer of two has more: one step. */
    for (int i = 0; i < n_streams; i++)
        if (streams[i].n_steps) decode_steps(&t, 1, 4, &streams[i], 1);
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
    const __m512i joined = _mm512_or_si512(l->front, _mm512_sllv_epi16(code, l->n));
    const __m512i over = _mm512_shldv_epi16(zero, code, l->n);
    const __m512i n = _mm512_add_epi16(l->n, length);
    const __mmask32 full = _mm512_cmpge_epu16_mask(n, sixteen);
    const unsigned n_words = (unsigned)_mm_popcnt_u32(full);
    words -= 2 * n_words;
    _mm512_mask_storeu_epi16(words, (__mmask32)_bzhi_u32(UINT32_MAX, n_words),
                             _mm512_maskz_compress_epi16(full, l->low));
    l->low = _mm512_mask_mov_epi16(l->low, full, joined);
    l->front = _mm512_mask_mov_epi16(joined, full, over);
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
    lanes32 lanes[2] = {load_lanes(states, 0), load_lanes(states, 1)};
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
    for (int parity = 0; parity < 2; parity++) store_lanes(states, parity, &lanes[parity]);
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
