/* Shared by the Huffman sources: the code, the lanes, and the table of kernels. */
#ifndef TSR_HUFFMAN_INTERNAL_H
#define TSR_HUFFMAN_INTERNAL_H

#include "tersor.h"
#include "tsr_bits.h"

#define MAX_LENGTH TSR_HUFFMAN_MAX_LENGTH
#define LANES 64

/* A 256-entry code table takes at most 128 bytes as nibbles. */
#define TABLE_BYTES_MAX 128
/* Lane states: 4 + 16 to 4 + 31 bits a lane. */
#define STATES_BYTES_MIN (LANES * 20 / 8)
#define STATES_BYTES_MAX (LANES * 35 / 8)
/* Bytes of the tail that travel in the lanes' last 16 bits. */
#define TAIL_BYTES (2 * LANES)

/* How far past the words of a lane stream a decoding step may read: 64 words. The lane states that
 * follow the words are longer than that, so every such read stays inside the plane. */
#define STEP_OVERREAD (2 * LANES)

typedef enum plane_mode {
    PLANE_RAW = 0,
    PLANE_SINGLE = 1,
    PLANE_ONE_LANE = 2,
    PLANE_LANES = 3,
    PLANE_LANES_TWICE = 4,
    PLANE_FLAGS = 5,
    PLANE_PACKED = 6,
    PLANE_LZW = 7,
    PLANE_GAPS = 8
} plane_mode;

/* A canonical code, complete and validated. */
typedef struct huffman_code {
    uint8_t sorted[256];                  /* symbols by (length, value) */
    uint16_t first_code[MAX_LENGTH + 2];  /* by length; undefined where no code has it */
    uint16_t first_index[MAX_LENGTH + 2]; /* of the first symbol of this length or more, in sorted */
    /* First code of this length or more, left-aligned to 16 bits; 0x10000 past the last. */
    uint32_t limit[MAX_LENGTH + 2];
    int max_length; /* longest in use */
} huffman_code;

/* An encoder's view: length << 12 | code. */
typedef struct huffman_codewords {
    uint16_t entry[256];
} huffman_codewords;

/*
 * The 64 lane states, even lanes apart from odd ones as the vector kernels hold them: lane k is
 * [k & 1][k >> 1]. The buffer's m valid bits, 16 <= m < 32, are the low 16 in `low` and the other
 * m - 16, which are its front, in the low end of `front`.
 */
typedef struct lane_states {
    uint16_t front[2][LANES / 2];
    uint16_t low[2][LANES / 2];
    uint16_t n_front[2][LANES / 2]; /* m - 16 */
} lane_states;

/* One stream while it is decoded. */
typedef struct lane_stream {
    lane_states states;
    const uint8_t *words; /* next word */
    const uint8_t *words_end;
    uint8_t *dst;
    size_t n_steps;
} lane_stream;

typedef struct huffman_kernels {
    int path;
    /* Counts the bytes of the first `piece` of every `stride` bytes; piece == stride counts all. */
    void (*histogram)(uint32_t counts[256], const uint8_t *src, size_t src_len, size_t piece, size_t stride);
    /* Adds to counts the bytes whose entry in `unseen` is 0xFF (the others are 0), and returns how many
     * those are; may stop with any number above `enough`. */
    size_t (*count_unseen)(uint32_t counts[256], const uint8_t *src, size_t src_len,
                           const uint8_t unseen[256], size_t enough);
    /* Codes n_steps * 64 bytes backwards from `states`, writing words downwards from words_end;
     * returns where the first word is. The caller provides room for all the bits, and for 16 bytes before
     * them. */
    uint8_t *(*encode_lanes)(const huffman_codewords *codewords, const uint8_t *src, size_t n_steps,
                             lane_states *states, uint8_t *words_end);
    /* Decodes every step of n_streams (1 or 2) streams, leaving states and words where the last step
     * left them. Stops early, with words > words_end, when a stream runs out of words. Two streams
     * have step counts that differ by at most one. STEP_OVERREAD bytes after words_end are
     * readable. */
    void (*decode_lanes)(const huffman_code *code, lane_stream *streams, int n_streams);
} huffman_kernels;

extern const huffman_kernels tsr_huffman_scalar;
#if TSR_X86
extern const huffman_kernels tsr_huffman_avx2;
extern const huffman_kernels tsr_huffman_avx512;
#elif TSR_ARM64
extern const huffman_kernels tsr_huffman_neon;
#endif

const huffman_kernels *tsr_huffman_active(void);

/* Scalar pieces that vector kernels fall back to. */
void tsr_huffman_histogram_scalar(uint32_t counts[256], const uint8_t *src, size_t src_len, size_t piece,
                                  size_t stride);
size_t tsr_huffman_count_unseen_scalar(uint32_t counts[256], const uint8_t *src, size_t src_len,
                                       const uint8_t unseen[256], size_t enough);
void tsr_huffman_decode_lanes_scalar(const huffman_code *code, lane_stream *streams, int n_streams);

/* huffman_wide_lengths.c. An unlimited code for weights that add up to 2^56 is no deeper: each step down takes the
 * next Fibonacci number of weight. */
#define TSR_TREE_DEPTH_MAX 96

/* Huffman's algorithm on n >= 2 weights in ascending order; both workspaces have n elements. Where a symbol and a
 * merged pair weigh the same the symbol comes first, which makes the deepest code as short as can be. Fills
 * leaves[d] with the number of codes of d bits and returns the longest. */
int tsr_tree_leaves(size_t leaves[TSR_TREE_DEPTH_MAX], const uint64_t *weights, size_t n, uint64_t *merged,
                    uint32_t *parents);

/* huffman_table.c */
void tsr_huffman_codewords(huffman_codewords *codewords, const uint8_t lengths[256]);
size_t tsr_huffman_table_write(uint8_t dst[TABLE_BYTES_MAX], const uint8_t lengths[256]);
tsr_result tsr_huffman_table_read(huffman_code *code, const uint8_t *src, size_t src_len, size_t *n_read);
/* Fills a table of 2^n_bits entries, symbol << 8 | length, by the next n_bits bits; n_bits is no less than the
 * longest length. */
void tsr_huffman_flat_table(uint16_t *flat, const huffman_code *code, int n_bits);

/* Large planes are counted by a sample, because counting takes longer than coding. The stride is no power
 * of two, so that the pieces wander through the rows of pictures and tables; and a multiple of eight. */
#define SAMPLED_MIN ((size_t)32 << 10)
#define SAMPLE_PIECE 128
#define SAMPLE_STRIDE (17 * 64)

/* Counts to make a code from; their sum is returned. Every byte that occurs has a count above zero. `exact`: of a
 * large plane too. */
uint64_t tsr_huffman_estimate_counts(uint32_t counts[256], const uint8_t *src, size_t n, int exact);

/* A code and its table as it is stored. */
typedef struct huffman_plan {
    uint8_t lengths[256];
    uint8_t table[TABLE_BYTES_MAX];
    size_t n_table;
} huffman_plan;

/* Makes the code; returns the least size that n coded bytes with about these counts can have. */
size_t tsr_huffman_plan(huffman_plan *plan, const uint32_t counts[256], uint64_t total, size_t n);

/* Codes n bytes, all of which have a code, in one of the Huffman modes; n is at least 128, for two streams
 * 256, but for one lane. dst_cap is TSR_HUFFMAN_ROOM(n) or more. The room is for a code
 * made from estimated counts, which may turn out longer than the bytes themselves. */
#define TSR_HUFFMAN_ROOM(n) ((n) + (n) / 2 + TABLE_BYTES_MAX + 6 + 2 * STATES_BYTES_MAX + STEP_OVERREAD)
size_t tsr_huffman_encode(uint8_t *dst, size_t dst_cap, const huffman_plan *plan, const uint8_t *src, size_t n,
                          int mode);
tsr_result tsr_huffman_decode(uint8_t *dst, size_t n, const uint8_t *src, size_t src_len, int mode);

/* Writes bit strings, most significant bit first. The eight bytes at `at` must be writable. */
typedef struct bit_writer {
    uint8_t *at;
    uint64_t bits; /* left-aligned */
    unsigned n;    /* < 8 between calls, so at most 63 within one */
} bit_writer;

/* `value` has at most `length` <= 56 bits. */
TSR_INLINE void put_bits(bit_writer *w, uint64_t value, unsigned length) {
    w->n += length;
    w->bits |= value << (64 - w->n);
    tsr_store64_be(w->at, w->bits);
    const unsigned n_bytes = w->n >> 3;
    w->at += n_bytes;
    w->bits <<= 8 * n_bytes;
    w->n &= 7;
}

TSR_INLINE uint8_t *finish_bits(bit_writer *w) { return w->at + (w->n > 0); }

#endif
