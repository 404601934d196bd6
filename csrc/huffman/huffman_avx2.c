/* AVX2 kernels of the 64-lane layout: eight lanes to a register, in 32-bit elements. */
#include "huffman_internal.h"

#if TSR_X86
#include <immintrin.h>

#define TARGET TSR_TARGET("avx2,bmi,bmi2,popcnt")

/* Registers for the lanes of one parity: register g has lanes 16g + parity, 16g + parity + 2, ... */
#define GROUPS (LANES / 2 / 8)

TARGET TSR_INLINE __m256i load_words(const uint16_t *words) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)words));
}

/* Elements must be below 2^16. */
TARGET TSR_INLINE __m128i pack_words(__m256i x) {
    return _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

TARGET TSR_INLINE void store_words(uint16_t *words, __m256i x) {
    _mm_storeu_si128((__m128i *)words, pack_words(x));
}

/* Byte shuffles of eight words, by the mask of the lanes that take one or give one. */
typedef struct word_shuffles {
    uint8_t bytes[256][16];
} word_shuffles;

TARGET TSR_INLINE __m128i shuffle_words(const word_shuffles *shuffles, unsigned mask, __m128i words) {
    return _mm_shuffle_epi8(words, _mm_loadu_si128((const __m128i *)shuffles->bytes[mask]));
}

/*
 * Looks up four table entries by their offsets. Each is loaded from where it lands in its place, which then
 * takes a blend, for which there are three ports, and no shuffle, for which there is one. Gathers are a little
 * faster on some machines and far slower on others. LOOKUP_MARGIN bytes around the table must be readable, and
 * the elements have what follows a shorter entry above it.
 */
#define LOOKUP_MARGIN 16

TARGET TSR_INLINE __m128i load_in_place(const void *table, size_t offset, int place) {
    return _mm_loadu_si128((const __m128i *)(const void *)((const uint8_t *)table + offset - 4 * place));
}

TARGET TSR_INLINE __m128i lookup4(const void *table, size_t a, size_t b, size_t c, size_t d) {
    const __m128i ab = _mm_blend_epi32(load_in_place(table, a, 0), load_in_place(table, b, 1), 2);
    const __m128i abc = _mm_blend_epi32(ab, load_in_place(table, c, 2), 4);
    return _mm_blend_epi32(abc, load_in_place(table, d, 3), 8);
}

/* ---- Decoding -------------------------------------------------------------------------------- */

typedef struct decode_tables {
    uint8_t margin[LOOKUP_MARGIN];
    uint16_t flat[1 << MAX_LENGTH]; /* by the next bits: symbol << 8 | length */
    uint8_t margin_after[LOOKUP_MARGIN];
    word_shuffles expand; /* words in order to the lanes of the mask, zeros to the others */
    __m128i index_shift;
} decode_tables;

typedef struct decoder8 {
    __m256i bits;      /* left-aligned */
    __m256i n_front;   /* valid bits - 16 */
    uint32_t index[8]; /* into the flat table */
} decoder8;

typedef struct decoder {
    decoder8 groups[2][GROUPS];
} decoder;

TARGET static void make_decode_tables(decode_tables *t, const huffman_code *code) {
    tsr_huffman_flat_table(t->flat, code, code->max_length);
    t->index_shift = _mm_cvtsi32_si128(32 - code->max_length);
    memset(t->expand.bytes[0], 0xFF, 16);
    for (int lane = 0; lane < 8; lane++) {
        for (int mask = 1 << lane; mask < 2 << lane; mask++) {
            const int before = mask ^ 1 << lane, rank = _mm_popcnt_u32((unsigned)before);
            memcpy(t->expand.bytes[mask], t->expand.bytes[before], 16);
            t->expand.bytes[mask][2 * lane] = (uint8_t)(2 * rank);
            t->expand.bytes[mask][2 * lane + 1] = (uint8_t)(2 * rank + 1);
        }
    }
}

TARGET TSR_INLINE void index_codes(const decode_tables *t, decoder8 *d) {
    _mm256_storeu_si256((__m256i *)(void *)d->index, _mm256_srl_epi32(d->bits, t->index_shift));
}

TARGET TSR_INLINE void load_decoder(const decode_tables *t, decoder *d, const lane_states *states) {
    for (int parity = 0; parity < 2; parity++) {
        for (int g = 0; g < GROUPS; g++) {
            decoder8 *const d8 = &d->groups[parity][g];
            const __m256i front = load_words(states->front[parity] + 8 * g);
            const __m256i low = load_words(states->low[parity] + 8 * g);
            d8->n_front = load_words(states->n_front[parity] + 8 * g);
            d8->bits = _mm256_sllv_epi32(_mm256_or_si256(_mm256_slli_epi32(front, 16), low),
                                         _mm256_sub_epi32(_mm256_set1_epi32(16), d8->n_front));
            index_codes(t, d8);
        }
    }
}

TARGET TSR_INLINE void store_decoder(lane_states *states, const decoder *d) {
    for (int parity = 0; parity < 2; parity++) {
        for (int g = 0; g < GROUPS; g++) {
            const decoder8 *const d8 = &d->groups[parity][g];
            const __m256i bits =
                _mm256_srlv_epi32(d8->bits, _mm256_sub_epi32(_mm256_set1_epi32(16), d8->n_front));
            store_words(states->front[parity] + 8 * g, _mm256_srli_epi32(bits, 16));
            store_words(states->low[parity] + 8 * g, _mm256_and_si256(bits, _mm256_set1_epi32(0xFFFF)));
            store_words(states->n_front[parity] + 8 * g, d8->n_front);
        }
    }
}

TARGET TSR_INLINE __m256i lookup_flat(const uint16_t *flat, const uint32_t index[8]) {
    const size_t size = sizeof *flat;
    return _mm256_set_m128i(
        lookup4(flat, index[4] * size, index[5] * size, index[6] * size, index[7] * size),
        lookup4(flat, index[0] * size, index[1] * size, index[2] * size, index[3] * size));
}

/* Takes a code off the front of eight lanes and refills those that fall below 16 bits. */
TARGET TSR_INLINE __m256i decode8(const decode_tables *t, decoder8 *d, const uint8_t **words) {
    const __m256i entry = lookup_flat(t->flat, d->index);
    const __m256i length = _mm256_and_si256(entry, _mm256_set1_epi32(0xFF));
    const __m256i n_front = _mm256_sub_epi32(d->n_front, length);
    const unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(n_front));
    const __m128i next = _mm_loadu_si128((const __m128i *)(const void *)*words);
    const __m256i word = _mm256_cvtepu16_epi32(shuffle_words(&t->expand, mask, next));
    *words += 2 * (size_t)_mm_popcnt_u32(mask);
    d->bits = _mm256_or_si256(_mm256_sllv_epi32(d->bits, length),
                              _mm256_sllv_epi32(word, _mm256_sub_epi32(_mm256_setzero_si256(), n_front)));
    d->n_front = _mm256_and_si256(n_front, _mm256_set1_epi32(15)); /* 16 more where it was negative */
    index_codes(t, d);
    return entry;
}

TARGET TSR_INLINE const uint8_t *decode_step(const decode_tables *t, decoder *d, const uint8_t *words,
                                             uint8_t *dst) {
    __m256i entries[2][GROUPS], pairs[GROUPS];
    for (int parity = 0; parity < 2; parity++)
        for (int g = 0; g < GROUPS; g++) entries[parity][g] = decode8(t, &d->groups[parity][g], &words);
    for (int g = 0; g < GROUPS; g++) {
        const __m256i even = _mm256_and_si256(_mm256_srli_epi32(entries[0][g], 8), _mm256_set1_epi32(0x00FF));
        pairs[g] = _mm256_or_si256(even, _mm256_and_si256(entries[1][g], _mm256_set1_epi32(0xFF00)));
    }
    for (int g = 0; g < GROUPS; g += 2) {
        const __m256i packed = _mm256_packus_epi32(pairs[g], pairs[g + 1]); /* halves apart */
        _mm256_storeu_si256((__m256i *)(void *)(dst + 16 * g), _mm256_permute4x64_epi64(packed, 0xD8));
    }
    return words;
}

/* Steps that all streams have, as long as none has run out of words. */
TARGET TSR_INLINE void decode_steps(const decode_tables *t, lane_stream *streams, int n_streams) {
    decoder decoders[2];
    const uint8_t *words[2] = {0};
    size_t n_common = streams[0].n_steps, step = 0;
    if (n_streams == 2 && streams[1].n_steps < n_common) n_common = streams[1].n_steps;
    for (int i = 0; i < n_streams; i++) {
        load_decoder(t, &decoders[i], &streams[i].states);
        words[i] = streams[i].words;
    }
    for (; step < n_common; step++) {
        if (TSR_UNLIKELY(words[0] > streams[0].words_end)) break;
        if (n_streams == 2 && TSR_UNLIKELY(words[1] > streams[1].words_end)) break;
        for (int i = 0; i < n_streams; i++)
            words[i] = decode_step(t, &decoders[i], words[i], streams[i].dst + step * LANES);
    }
    for (int i = 0; i < n_streams; i++) {
        store_decoder(&streams[i].states, &decoders[i]);
        streams[i].words = words[i];
        streams[i].dst += step * LANES;
        streams[i].n_steps -= step;
    }
}

TARGET static void decode_lanes_avx2(const huffman_code *code, lane_stream *streams, int n_streams) {
    decode_tables t;
    make_decode_tables(&t, code);
    if (n_streams == 2) decode_steps(&t, streams, 2);
    for (int i = 0; i < n_streams; i++)
        if (streams[i].n_steps) decode_steps(&t, &streams[i], 1);
}

/* ---- Counting -------------------------------------------------------------------------------- */

/* A set of bytes as a bit matrix: bit h & 7 of byte l of rows[h >> 3] is whether 16h + l is in it. */
TARGET static size_t count_unseen_avx2(uint32_t counts[256], const uint8_t *src, size_t src_len,
                                       const uint8_t unseen[256], size_t enough) {
    const __m128i bit_of = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 1, 2, 4, 8, 16, 32, 64, (char)128);
    const __m256i bits = _mm256_broadcastsi128_si256(bit_of);
    const __m256i top = _mm256_set1_epi8((char)0x80), nibble = _mm256_set1_epi8(15);
    const __m256i low_index = _mm256_set1_epi8((char)0x8F);
    const size_t n_whole = src_len & ~(size_t)31;
    __m256i rows[2];
    size_t n_unseen = 0;
    for (int half = 0; half < 2; half++) {
        __m128i row = _mm_setzero_si128();
        for (int h = 0; h < 8; h++) {
            const __m128i in = _mm_loadu_si128((const __m128i *)(const void *)(unseen + 128 * half + 16 * h));
            row = _mm_or_si128(row, _mm_and_si128(in, _mm_set1_epi8((char)(1 << h))));
        }
        rows[half] = _mm256_broadcastsi128_si256(row);
    }
    for (size_t i = 0; i < n_whole; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(src + i));
        const __m256i low = _mm256_and_si256(x, low_index);
        /* A shuffle gives zero where the index has its top bit set. */
        const __m256i row = _mm256_or_si256(_mm256_shuffle_epi8(rows[0], low),
                                            _mm256_shuffle_epi8(rows[1], _mm256_xor_si256(low, top)));
        const __m256i bit = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
        const __m256i seen = _mm256_cmpeq_epi8(_mm256_and_si256(row, bit), _mm256_setzero_si256());
        uint32_t found = ~(uint32_t)_mm256_movemask_epi8(seen);
        if (TSR_LIKELY(!found)) continue;
        n_unseen += (size_t)_mm_popcnt_u32(found);
        if (n_unseen > enough) return n_unseen;
        for (; found; found = _blsr_u32(found)) counts[src[i + (size_t)_tzcnt_u32(found)]]++;
    }
    return n_unseen + tsr_huffman_count_unseen_scalar(counts, src + n_whole, src_len - n_whole, unseen,
                                                      enough);
}

/* ---- Encoding -------------------------------------------------------------------------------- */

typedef struct encode_tables {
    uint8_t margin[LOOKUP_MARGIN];
    uint32_t codes[256]; /* code << 16 | length */
    uint8_t margin_after[LOOKUP_MARGIN];
    word_shuffles compress; /* words of the lanes of the mask to the end, in order */
} encode_tables;

typedef struct encoder8 {
    __m256i front, low, n_front; /* as in lane_states */
} encoder8;

TARGET static void make_encode_tables(encode_tables *t, const huffman_codewords *codewords) {
    for (int s = 0; s < 256; s++)
        t->codes[s] = (codewords->entry[s] & 0xFFFu) << 16 | codewords->entry[s] >> 12;
    memset(t->compress.bytes[0], 0, 16);
    for (unsigned mask = 1; mask < 256; mask++) {
        const unsigned lane = _tzcnt_u32(mask), place = 8 - (unsigned)_mm_popcnt_u32(mask);
        memcpy(t->compress.bytes[mask], t->compress.bytes[_blsr_u32(mask)], 16);
        t->compress.bytes[mask][2 * place] = (uint8_t)(2 * lane);
        t->compress.bytes[mask][2 * place + 1] = (uint8_t)(2 * lane + 1);
    }
}

TARGET TSR_INLINE __m256i lookup_codes(const uint32_t codes[256], const uint8_t *src) {
    const size_t size = sizeof *codes;
    return _mm256_set_m128i(lookup4(codes, src[8] * size, src[10] * size, src[12] * size, src[14] * size),
                            lookup4(codes, src[0] * size, src[2] * size, src[4] * size, src[6] * size));
}

/* Puts a code in front of eight lanes; emits words downwards where lanes fill. */
TARGET TSR_INLINE uint8_t *encode8(const encode_tables *t, encoder8 *e, const uint8_t *src, uint8_t *words) {
    const __m256i entry = lookup_codes(t->codes, src);
    const __m256i code = _mm256_srli_epi32(entry, 16);
    const __m256i length = _mm256_and_si256(entry, _mm256_set1_epi32(0xFF));
    const __m256i joined = _mm256_or_si256(e->front, _mm256_sllv_epi32(code, e->n_front));
    const __m256i n = _mm256_add_epi32(e->n_front, length);
    const __m256 full = _mm256_castsi256_ps(_mm256_slli_epi32(n, 27)); /* the sign is whether n >= 16 */
    const unsigned mask = (unsigned)_mm256_movemask_ps(full);
    /* Words not due yet fall below, where later ones or none will lie. */
    _mm_storeu_si128((__m128i *)(void *)(words - 16), shuffle_words(&t->compress, mask, pack_words(e->low)));
    e->low = _mm256_castps_si256(
        _mm256_blendv_ps(_mm256_castsi256_ps(e->low),
                         _mm256_castsi256_ps(_mm256_and_si256(joined, _mm256_set1_epi32(0xFFFF))), full));
    e->front = _mm256_srlv_epi32(joined, _mm256_and_si256(n, _mm256_set1_epi32(16)));
    e->n_front = _mm256_and_si256(n, _mm256_set1_epi32(15));
    return words - 2 * (size_t)_mm_popcnt_u32(mask);
}

TARGET static uint8_t *encode_lanes_avx2(const huffman_codewords *codewords, const uint8_t *src,
                                         size_t n_steps, lane_states *states, uint8_t *words_end) {
    encode_tables t;
    encoder8 groups[2][GROUPS];
    make_encode_tables(&t, codewords);
    for (int parity = 0; parity < 2; parity++) {
        for (int g = 0; g < GROUPS; g++) {
            groups[parity][g].front = load_words(states->front[parity] + 8 * g);
            groups[parity][g].low = load_words(states->low[parity] + 8 * g);
            groups[parity][g].n_front = load_words(states->n_front[parity] + 8 * g);
        }
    }
    for (size_t step = n_steps; step-- > 0;)
        for (int parity = 1; parity >= 0; parity--)
            for (int g = GROUPS - 1; g >= 0; g--)
                words_end = encode8(&t, &groups[parity][g], src + step * LANES + 16 * g + parity, words_end);
    for (int parity = 0; parity < 2; parity++) {
        for (int g = 0; g < GROUPS; g++) {
            store_words(states->front[parity] + 8 * g, groups[parity][g].front);
            store_words(states->low[parity] + 8 * g, groups[parity][g].low);
            store_words(states->n_front[parity] + 8 * g, groups[parity][g].n_front);
        }
    }
    return words_end;
}

const huffman_kernels tsr_huffman_avx2 = {
    TSR_CPU_AVX2,
    tsr_huffman_histogram_scalar,
    count_unseen_avx2,
    encode_lanes_avx2,
    decode_lanes_avx2,
};
#endif
