/* One plane of bytes: the choice of a mode, and the modes that rearrange bytes before Huffman codes. */
#include "../lzw/lzw_internal.h"
#include "planes_internal.h"

/* Smaller planes would lose to the headers what they gain. */
#define REARRANGED_MIN 512
/* What a rearranged plane takes beside its entropy, in bytes: headers, tables, lane states. */
#define REARRANGED_COST 256
/* A rearrangement must save one part in so many. */
#define EARNED 64

/* Least sizes for 64 lanes and for twice as many: of a plane, and of the coded data of one within others. */
#define LANES_MIN ((size_t)8 << 10)
#define LANES_TWICE_MIN ((size_t)64 << 10)
#define NESTED_LANES_MIN ((size_t)12 << 10)
#define NESTED_ONE_LANE_MAX ((size_t)32 << 10) /* bytes: more take too long, however few bits they have */
#define NESTED_LANES_TWICE_MIN ((size_t)48 << 10)

#define FLAGS_HEADER 6 /* u8 common, u8 mode and u24 size of the flags, u8 mode of the literals */
#define GAPS_ESCAPE_MIN 15
#define GAPS_HEADER 10 /* u8 common, u8 escape, u24 number of gaps, u8 mode and u24 size of them, u8 mode of the literals */

typedef struct alphabet {
    int n_symbols;
    uint8_t common;      /* the most frequent symbol, the lowest of equals */
    uint8_t symbols[16]; /* in order, if there are so few, then zeros */
    uint8_t index[256];  /* of each symbol, if there are so few */
} alphabet;

/* ---- Packed symbols -------------------------------------------------------------------------------- */

TSR_INLINE int packed_bits(int n_symbols) { return n_symbols <= 2 ? 1 : n_symbols <= 4 ? 2 : 4; }
TSR_INLINE size_t packed_size(size_t n, int bits) { return (n * (size_t)bits + 7) / 8; }

/* First symbol in the lowest bits. TSR_PLANE_SLACK bytes after the packed ones and n more in `spare` are overwritten. */
static void pack(uint8_t *dst, const uint8_t *src, size_t n, int bits, const alphabet *a, uint8_t *spare) {
    const size_t per_byte = 8u / (unsigned)bits, n_whole = n / per_byte;
    const uint8_t *const index = a->index;
    if (bits == 1) {
        tsr_planes_active()->split_flags(dst, spare, src, n, a->symbols[0]);
        return;
    }
    if (bits == 4) {
        for (size_t j = 0; j < n_whole; j++)
            dst[j] = (uint8_t)(index[src[2 * j]] | index[src[2 * j + 1]] << 4);
    } else {
        for (size_t j = 0; j < n_whole; j++) {
            unsigned packed = 0;
            for (size_t k = 0; k < per_byte; k++)
                packed |= (unsigned)index[src[per_byte * j + k]] << (bits * (int)k);
            dst[j] = (uint8_t)packed;
        }
    }
    if (n % per_byte == 0) return;
    unsigned packed = 0;
    for (size_t k = 0; k < n % per_byte; k++)
        packed |= (unsigned)index[src[per_byte * n_whole + k]] << (bits * (int)k);
    dst[n_whole] = (uint8_t)packed;
}

/* Returns TSR_ERR_PADDING if the last byte has bits beyond the last symbol. */
static tsr_result unpack(uint8_t *dst, size_t n, const uint8_t *src, int bits, const uint8_t *symbols) {
    uint64_t strings[256]; /* what each packed byte stands for */
    const unsigned mask = (1u << bits) - 1;
    const size_t per_byte = 8u / (unsigned)bits, n_whole = n / per_byte, n_rest = n % per_byte;
    for (unsigned b = 0; b < 256; b++) {
        strings[b] = 0;
        for (unsigned k = 0; k < per_byte; k++)
            strings[b] |= (uint64_t)symbols[b >> (k * (unsigned)bits) & mask] << (8 * k);
    }
    if (bits == 4)
        for (size_t j = 0; j < n_whole; j++) memcpy(dst + 2 * j, &strings[src[j]], 2);
    else if (bits == 2)
        for (size_t j = 0; j < n_whole; j++) memcpy(dst + 4 * j, &strings[src[j]], 4);
    else
        for (size_t j = 0; j < n_whole; j++) memcpy(dst + 8 * j, &strings[src[j]], 8);
    if (n_rest == 0) return TSR_OK;
    if (src[n_whole] >> (bits * (int)n_rest)) return TSR_ERR_PADDING;
    memcpy(dst + n - n_rest, &strings[src[n_whole]], n_rest);
    return TSR_OK;
}

/* ---- LZW -------------------------------------------------------------------------------------------- */

/* Nothing but codes. The larger the table, the better for blocks of 256 KiB. */
static const tsr_lzw_dialect lzw_dialect = {.literal_bits = 8, .max_bits = 16};

static size_t lzw_state_size(void) {
    const size_t encoder = tsr_lzw_encoder_size(&lzw_dialect), decoder = tsr_lzw_decoder_size(&lzw_dialect);
    return encoder > decoder ? encoder : decoder;
}

/* States are aligned to 8 bytes. */
static void *lzw_state(uint8_t *scratch) { return scratch + (-(uintptr_t)scratch & 7); }

size_t tsr_plane_scratch_size(size_t n) {
    const size_t lzw = n + lzw_state_size() + 7, others = TSR_PLANE_SCRATCH(n);
    return lzw > others ? lzw : others;
}

/* Takes LZW where it is smaller than the mode that is chosen otherwise. */
static size_t encode_lzw(uint8_t *dst, const uint8_t *src, size_t n, uint8_t *scratch, uint8_t *mode) {
    const size_t size = tsr_plane_encode(dst, src, n, TSR_CODEC_AUTO, 0, scratch, mode);
    tsr_lzw_encoder *const encoder = lzw_state(scratch + n);
    tsr_lzw_progress progress;
    tsr_lzw_encoder_init(encoder, &lzw_dialect);
    tsr_lzw_encode(encoder, scratch, size - 1, src, n, 1, &progress);
    if (progress.status != TSR_LZW_END) return size;
    memcpy(dst, scratch, progress.n_written);
    *mode = PLANE_LZW;
    return progress.n_written;
}

static tsr_result decode_lzw(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, uint8_t *scratch) {
    tsr_lzw_decoder *const decoder = lzw_state(scratch);
    tsr_lzw_progress progress;
    tsr_lzw_decoder_init(decoder, &lzw_dialect);
    const tsr_result rc = tsr_lzw_decode_whole(decoder, dst, 0, n, src, src_len, &progress);
    if (rc != TSR_OK) return rc;
    if (progress.n_written < n) return TSR_ERR_STREAM_SHORT;
    if (progress.status == TSR_LZW_OUTPUT_FULL) return TSR_ERR_STREAM_LONG;
    return tsr_lzw_decoder_is_spent(decoder) ? TSR_OK : TSR_ERR_PADDING;
}

/* ---- Choice --------------------------------------------------------------------------------------- */

/* Whether gaps are cheaper and as fast as flags. */
static int is_sparse(uint64_t n_common, uint64_t total) { return n_common * 8 >= total * 7; }

static void find_alphabet(alphabet *a, const uint32_t counts[256]) {
    memset(a, 0, sizeof *a);
    for (int s = 0; s < 256; s++) {
        if (!counts[s]) continue;
        if (a->n_symbols < 16) a->symbols[a->n_symbols] = (uint8_t)s;
        a->index[s] = (uint8_t)a->n_symbols++;
        if (counts[s] > counts[a->common]) a->common = (uint8_t)s;
    }
}

/* Entropy of the symbols that are counted, leaving out `without` (-1: none), in bits / 256 of n plane bytes. */
static uint64_t entropy_of_counts(const uint32_t counts[256], uint64_t total, int without, size_t n) {
    const uint32_t all = tsr_log2_256((uint32_t)(without < 0 ? total : total - counts[without]));
    uint64_t bits = 0;
    for (int s = 0; s < 256; s++)
        if (s != without && counts[s]) bits += (uint64_t)counts[s] * (all - tsr_log2_256(counts[s]));
    return bits * n / total;
}

/* Size in bytes after a rearrangement: entropies of a sample of the packed bytes or flags, and of the literals
 * that flags leave. */
static size_t estimate_rearranged(const uint8_t *src, size_t n, const uint32_t counts[256], uint64_t total,
                                  const alphabet *a, plane_mode mode, uint8_t *scratch) {
    const size_t stride = n < SAMPLED_MIN ? SAMPLE_PIECE : SAMPLE_STRIDE;
    const int bits = mode == PLANE_FLAGS ? 1 : packed_bits(a->n_symbols);
    const size_t n_piece = packed_size(SAMPLE_PIECE, bits);
    uint8_t literals[SAMPLE_PIECE + TSR_PLANE_SLACK];
    size_t n_sample = 0;
    for (size_t at = 0; at + SAMPLE_PIECE <= n; at += stride, n_sample += n_piece) {
        if (mode == PLANE_FLAGS)
            tsr_planes_active()->split_flags(scratch + n_sample, literals, src + at, SAMPLE_PIECE, a->common);
        else
            pack(scratch + n_sample, src + at, SAMPLE_PIECE, bits, a, literals);
    }
    uint64_t cost = tsr_entropy(scratch, n_sample) * packed_size(n, bits) / n_sample;
    if (mode == PLANE_FLAGS) cost += entropy_of_counts(counts, total, a->common, n);
    return (size_t)(cost / 256 / 8) + REARRANGED_COST;
}

/* The rearrangement for a plane that Huffman codes alone bring to `direct` bytes, or PLANE_RAW for none. It has to
 * earn its time: a code that is close to the entropy is left alone. */
static plane_mode choose_rearrangement(const uint8_t *src, size_t n, const uint32_t counts[256], uint64_t total,
                                       size_t direct, const alphabet *a, uint8_t *scratch) {
    const size_t least = (size_t)(entropy_of_counts(counts, total, -1, n) / 256 / 8);
    direct -= direct / EARNED;
    if (direct < least) return PLANE_RAW;
    /* Rare literals need no sample: gaps cost what the entropy says. */
    if (is_sparse(counts[a->common], total)) return least + REARRANGED_COST < direct ? PLANE_GAPS : PLANE_RAW;
    plane_mode best = PLANE_RAW;
    for (int i = 0; i < 2; i++) {
        const plane_mode mode = i == 0 ? PLANE_PACKED : PLANE_FLAGS;
        if (mode == PLANE_PACKED ? a->n_symbols > 16 : (uint64_t)counts[a->common] * 4 < total) continue;
        const size_t size = estimate_rearranged(src, n, counts, total, a, mode, scratch);
        if (size >= direct) continue;
        best = mode;
        direct = size;
    }
    return best;
}

/* Lanes have a fixed cost, some 200 bytes a stream, and speed. Within a rearrangement the plane has fewer bytes
 * than what it stands for, so that there it is their cost that counts. */
static plane_mode choose_layout(size_t n, size_t planned, int depth) {
    const int spares_lanes = depth && planned < NESTED_LANES_MIN && n < NESTED_ONE_LANE_MAX;
    if (n < LANES_MIN || spares_lanes) return PLANE_ONE_LANE;
    if (n < LANES_TWICE_MIN || (depth && planned < NESTED_LANES_TWICE_MIN)) return PLANE_LANES;
    return PLANE_LANES_TWICE;
}

/* ---- Encoding --------------------------------------------------------------------------------------- */

static size_t store_raw(uint8_t *dst, const uint8_t *src, size_t n, uint8_t *mode) {
    memcpy(dst, src, n);
    *mode = PLANE_RAW;
    return n;
}

/* The distances from literal to literal, as bytes up to `escape`, which stands for so many bytes without a literal.
 * Returns their number. */
static size_t gaps_from_flags(uint8_t *gaps, const uint8_t *flags, size_t n, size_t escape) {
    size_t n_gaps = 0, next = 0; /* next: where a gap of zero would be */
    for (size_t i = 0; i < n; i += 64) {
        uint64_t word = 0;
        memcpy(&word, flags + i / 8, n - i < 64 ? (n - i + 7) / 8 : 8);
        for (; word; word &= word - 1) {
            const size_t at = i + tsr_lowest_bit(word);
            size_t gap = at - next;
            for (; gap >= escape; gap -= escape) gaps[n_gaps++] = (uint8_t)escape;
            gaps[n_gaps++] = (uint8_t)gap;
            next = at + 1;
        }
    }
    return n_gaps;
}

/* Flags or gaps, and the literals. Returns n when there are more literals than the sample let expect. */
static size_t encode_literals(uint8_t *dst, const uint8_t *src, size_t n, plane_mode mode, uint8_t common, int codec,
                              int depth, uint8_t *scratch) {
    const size_t n_flags = packed_size(n, 1);
    uint8_t *places = scratch, *const literals = places + n_flags + TSR_PLANE_SLACK, *out = dst;
    const size_t n_literals = tsr_planes_active()->split_flags(places, literals, src, n, common);
    scratch = literals + n_literals + TSR_PLANE_SLACK;
    size_t n_places = n_flags;
    *out++ = common;
    if (mode == PLANE_FLAGS) {
        if (n_literals > n / 4 * 3) return n;
    } else {
        size_t escape = GAPS_ESCAPE_MIN;
        if (n_literals > n / 3) return n;
        /* Twice the mean gap: escapes are rare, and the code table is small. */
        while (escape < 255 && escape * n_literals < 2 * (n - n_literals)) escape = 2 * escape + 1;
        n_places = gaps_from_flags(scratch, places, n, escape);
        places = scratch;
        scratch += n_places + TSR_PLANE_SLACK;
        *out++ = (uint8_t)escape;
        tsr_store24(out, (uint32_t)n_places);
        out += 3;
    }
    uint8_t *const head = out;
    out += 5;
    const size_t size = tsr_plane_encode(out, places, n_places, codec, depth + 1, scratch, &head[0]);
    tsr_store24(head + 1, (uint32_t)size);
    out += size;
    out += tsr_plane_encode(out, literals, n_literals, codec, depth + 1, scratch, &head[4]);
    return (size_t)(out - dst);
}

static size_t encode_packed(uint8_t *dst, const uint8_t *src, size_t n, const alphabet *a, int codec, int depth,
                            uint8_t *scratch) {
    const int bits = packed_bits(a->n_symbols), n_table = 1 << bits;
    const size_t n_packed = packed_size(n, bits);
    dst[0] = (uint8_t)bits;
    memcpy(dst + 1, a->symbols, (size_t)n_table);
    pack(scratch, src, n, bits, a, scratch + n_packed + TSR_PLANE_SLACK);
    return (size_t)(2 + n_table) + tsr_plane_encode(dst + 2 + n_table, scratch, n_packed, codec, depth + 1,
                                                    scratch + n_packed + TSR_PLANE_SLACK, &dst[1 + n_table]);
}

size_t tsr_plane_encode(uint8_t *dst, const uint8_t *src, size_t n, int codec, int depth, uint8_t *scratch,
                        uint8_t *mode) {
    uint32_t counts[256];
    huffman_plan plan;
    alphabet a;

    if (codec == TSR_CODEC_RAW) return store_raw(dst, src, n, mode);
    if (codec == TSR_CODEC_LZW) return encode_lzw(dst, src, n, scratch, mode);
    const uint64_t total = tsr_huffman_estimate_counts(counts, src, n, depth > 0);
    if (counts[src[0]] == total) {
        dst[0] = src[0];
        *mode = PLANE_SINGLE;
        return 1;
    }
    size_t planned = 0;
    if (depth < TSR_PLANE_DEPTH_MAX && n >= REARRANGED_MIN) {
        size_t size = n;
        find_alphabet(&a, counts);
        /* Where one symbol outweighs the others it has one bit, and they have theirs behind the other bit: that is
         * known without making the code. */
        const int sparse = is_sparse(counts[a.common], total);
        if (!sparse) planned = tsr_huffman_plan(&plan, counts, total, n);
        const size_t direct =
            sparse ? n / 8 + (size_t)(entropy_of_counts(counts, total, a.common, n) / 256 / 8) : planned;
        *mode = (uint8_t)choose_rearrangement(src, n, counts, total, direct, &a, scratch);
        if (*mode == PLANE_PACKED) size = encode_packed(dst, src, n, &a, codec, depth, scratch);
        else if (*mode != PLANE_RAW)
            size = encode_literals(dst, src, n, (plane_mode)*mode, a.common, codec, depth, scratch);
        if (size < direct && size < n) return size;
    }
    if (!planned) planned = tsr_huffman_plan(&plan, counts, total, n);
    if (planned >= n) return store_raw(dst, src, n, mode);
    *mode = (uint8_t)choose_layout(n, planned, depth);
    const size_t size = tsr_huffman_encode(dst, TSR_HUFFMAN_ROOM(n), &plan, src, n, *mode);
    return size < n ? size : store_raw(dst, src, n, mode);
}

/* ---- Decoding --------------------------------------------------------------------------------------- */

tsr_result tsr_plane_check(int mode, size_t size, size_t n) {
    switch ((plane_mode)mode) {
    case PLANE_RAW: return size == n ? TSR_OK : TSR_ERR_PLANE_SIZE;
    case PLANE_SINGLE: return size == 1 ? TSR_OK : TSR_ERR_PLANE_SIZE;
    case PLANE_ONE_LANE:
    case PLANE_LANES:
    case PLANE_LANES_TWICE: return size >= n / 8 ? TSR_OK : TSR_ERR_PLANE_SIZE; /* a bit a symbol */
    case PLANE_FLAGS: return size > FLAGS_HEADER ? TSR_OK : TSR_ERR_PLANE_SIZE;
    case PLANE_PACKED: return size > 4 ? TSR_OK : TSR_ERR_PLANE_SIZE;
    case PLANE_GAPS: return size > GAPS_HEADER ? TSR_OK : TSR_ERR_PLANE_SIZE;
    case PLANE_LZW: {
        /* The string of a code is longer than any before by one byte at the most. */
        const size_t n_codes = size * 8 / 9;
        return n_codes >= n || n_codes * (n_codes + 1) / 2 >= n ? TSR_OK : TSR_ERR_PLANE_SIZE;
    }
    }
    return TSR_ERR_MODE;
}

static tsr_result decode_flags(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int depth,
                               uint8_t *scratch) {
    const size_t n_flags = packed_size(n, 1), size = tsr_load24(src + 2);
    uint8_t *const flags = scratch, *const literals = flags + n_flags + TSR_PLANE_SLACK;
    if (size > src_len - FLAGS_HEADER) return TSR_ERR_PLANE_SIZE;
    src += FLAGS_HEADER;
    tsr_result rc = tsr_plane_decode(flags, n_flags, src, size, src[1 - FLAGS_HEADER], depth + 1, literals);
    if (rc != TSR_OK) return rc;
    if (n % 8 && flags[n / 8] >> (n % 8)) return TSR_ERR_PADDING;
    const size_t n_literals = tsr_count_ones(flags, n_flags);
    if (n_literals == 0) return TSR_ERR_PLANE_SIZE;
    rc = tsr_plane_decode(literals, n_literals, src + size, src_len - FLAGS_HEADER - size, src[-1], depth + 1,
                          literals + n_literals + TSR_PLANE_SLACK);
    if (rc != TSR_OK) return rc;
    tsr_planes_active()->join_flags(dst, n, flags, literals, src[-FLAGS_HEADER]);
    return TSR_OK;
}

/* How many of the gaps end in a literal; 0 when they do not fit in n bytes, or end without one. */
static size_t count_literals(const uint8_t *gaps, size_t n_gaps, uint8_t escape, size_t n) {
    uint32_t n_literals = 0, reach = 0, n_wrong = 0; /* 32 bits hold a block, and more of them fit in a register */
    for (size_t i = 0; i < n_gaps; i++) {
        reach += gaps[i];
        n_literals += gaps[i] != escape;
        n_wrong += gaps[i] > escape;
    }
    return n_wrong || (size_t)reach + n_literals > n || gaps[n_gaps - 1] == escape ? 0 : n_literals;
}

static void join_gaps(uint8_t *dst, size_t n, const uint8_t *gaps, size_t n_gaps, uint8_t escape,
                      const uint8_t *literals, uint8_t common) {
    memset(dst, common, n);
    for (size_t i = 0; i < n_gaps; i++) {
        const size_t gap = gaps[i], ends = gap != escape;
        /* A choice without a branch; after an escape a literal is to come, so that its place is inside too. */
        dst[gap] = (uint8_t)(common ^ ((common ^ *literals) & (0u - (unsigned)ends)));
        dst += gap + ends;
        literals += ends;
    }
}

static tsr_result decode_gaps(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int depth,
                              uint8_t *scratch) {
    const uint8_t common = src[0], escape = src[1];
    const size_t n_gaps = tsr_load24(src + 2), size = tsr_load24(src + 6);
    uint8_t *const gaps = scratch, *const literals = gaps + n_gaps + TSR_PLANE_SLACK;
    if (size > src_len - GAPS_HEADER) return TSR_ERR_PLANE_SIZE;
    if (n_gaps == 0 || n_gaps > n / 2) return TSR_ERR_GAPS;
    const uint8_t *const data = src + GAPS_HEADER;
    tsr_result rc = tsr_plane_decode(gaps, n_gaps, data, size, src[5], depth + 1, literals);
    if (rc != TSR_OK) return rc;
    const size_t n_literals = count_literals(gaps, n_gaps, escape, n);
    if (n_literals == 0) return TSR_ERR_GAPS;
    rc = tsr_plane_decode(literals, n_literals, data + size, src_len - GAPS_HEADER - size, src[9], depth + 1,
                          literals + n_literals + TSR_PLANE_SLACK);
    if (rc == TSR_OK) join_gaps(dst, n, gaps, n_gaps, escape, literals, common);
    return rc;
}

static tsr_result decode_packed(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int depth,
                                uint8_t *scratch) {
    const int bits = src[0], n_table = 1 << (bits & 7);
    const size_t n_packed = packed_size(n, bits);
    if ((bits != 1 && bits != 2 && bits != 4) || src_len < (size_t)(3 + n_table)) return TSR_ERR_PLANE_SIZE;
    const uint8_t *const data = src + 2 + n_table;
    const tsr_result rc = tsr_plane_decode(scratch, n_packed, data, src_len - (size_t)(2 + n_table), data[-1],
                                           depth + 1, scratch + n_packed + TSR_PLANE_SLACK);
    return rc == TSR_OK ? unpack(dst, n, scratch, bits, src + 1) : rc;
}

tsr_result tsr_plane_decode(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int mode, int depth,
                            uint8_t *scratch) {
    const tsr_result rc = tsr_plane_check(mode, src_len, n);
    if (rc != TSR_OK) return rc;
    switch ((plane_mode)mode) {
    case PLANE_RAW: memcpy(dst, src, n); return TSR_OK;
    case PLANE_SINGLE: memset(dst, src[0], n); return TSR_OK;
    case PLANE_ONE_LANE:
    case PLANE_LANES:
    case PLANE_LANES_TWICE: return tsr_huffman_decode(dst, n, src, src_len, mode);
    case PLANE_FLAGS:
    case PLANE_PACKED:
    case PLANE_GAPS: break;
    case PLANE_LZW: return depth == 0 ? decode_lzw(dst, n, src, src_len, scratch) : TSR_ERR_DEPTH;
    }
    if (depth >= TSR_PLANE_DEPTH_MAX) return TSR_ERR_DEPTH;
    if (mode == PLANE_FLAGS) return decode_flags(dst, n, src, src_len, depth, scratch);
    if (mode == PLANE_GAPS) return decode_gaps(dst, n, src, src_len, depth, scratch);
    return decode_packed(dst, n, src, src_len, depth, scratch);
}
