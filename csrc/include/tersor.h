/*
 * tersor's C core: the one header that bindings see.
 *
 * General rules
 *   - Nothing here allocates, prints, aborts or keeps a reference: the caller owns every buffer,
 *     workspace included, and may free it when the call returns.
 *   - Calls are reentrant. Only tsr_cpu_select() changes global state; call it before the others.
 *   - Input bytes are untrusted. A decoder reads inside [src, src + src_len) and writes inside
 *     [dst, dst + dst_len) and its workspace, whatever the bytes are.
 *   - On any result but TSR_OK the contents of dst and workspace are unspecified.
 *   - Buffers must not overlap. Sizes are in bytes unless a name says otherwise.
 */
#ifndef TERSOR_H
#define TERSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Results. Append only: bindings map each number. tsr_result_text() has a sentence for each. */
typedef enum tsr_result {
    TSR_OK = 0,
    TSR_ERR_DST_TOO_SMALL = -1,       /* caller's mistake: see the _bound() functions */
    TSR_ERR_SHAPE = -2,               /* a shape byte that format version 1 does not know */
    TSR_ERR_MODE = -3,                /* a plane mode that format version 1 does not know */
    TSR_ERR_PAYLOAD_SIZE = -4,        /* plane sizes do not add up to the payload */
    TSR_ERR_PLANE_SIZE = -5,          /* a plane's data is too short or too long for its mode */
    TSR_ERR_TABLE_TRUNCATED = -6,     /* the data ends inside the code table */
    TSR_ERR_TABLE_NIBBLE = -7,        /* a nibble that means nothing where it stands */
    TSR_ERR_TABLE_OVERRUN = -8,       /* the table describes more symbols than there are */
    TSR_ERR_CODE_OVERSUBSCRIBED = -9, /* the lengths need more code space than there is */
    TSR_ERR_CODE_INCOMPLETE = -10,    /* the lengths leave bit strings without a symbol */
    TSR_ERR_STREAM_SHORT = -11,       /* the bits end before the last symbol */
    TSR_ERR_STREAM_LONG = -12,        /* bits are left over after the last symbol */
    TSR_ERR_LANE_STATE = -13,         /* lane states do not fit the stream */
    TSR_ERR_PADDING = -14,            /* padding that must be zero is not */
    TSR_ERR_DEPTH = -15,              /* planes within planes beyond the limit */
    TSR_ERR_LZW_CODE = -16,           /* a code that is not in the table yet */
    TSR_ERR_LZW_FIRST = -17,          /* the first code, or the first after a clear, is no literal */
    TSR_ERR_LZW_SYMBOL = -18,         /* encoder: a byte that is no literal of the dialect */
    TSR_ERR_GAPS = -19,               /* gaps that do not fit their plane */
    TSR_ERR_TABLE_LENGTH = -20,       /* a code length that is zero or above the limit */
    TSR_ERR_TABLE_LONG = -21,         /* bytes are left over after the code table */
    TSR_ERR_COUNT = -22,              /* a count of symbols that data of this size cannot hold */
    TSR_ERR_CODE_UNASSIGNED = -23,    /* bits that are no symbol's code */
    TSR_ERR_CODEBOOK_INDEX = -24,     /* an index that the codebook does not have */
    TSR_ERR_POSITIONS = -25           /* positions of a sparse block that are not 0, 1 or 2, or none is 1 */
} tsr_result;

#define TSR_RESULT_LAST TSR_ERR_POSITIONS

/* A sentence fragment in plain English, never NULL. */
const char *tsr_result_text(int result);

/* ---- CPU paths ------------------------------------------------------------------------------- */

typedef enum tsr_cpu_path {
    TSR_CPU_SCALAR = 0,
    TSR_CPU_AVX2 = 1,
    TSR_CPU_AVX512 = 2, /* F, BW, DQ, VL, VBMI, VBMI2 and VNNI, with the system saving 512-bit registers */
    TSR_CPU_NEON = 3
} tsr_cpu_path;

#define TSR_CPU_PATHS 4

/* "scalar", "avx2", "avx512", "neon"; NULL for a number that is no path. */
const char *tsr_cpu_path_name(int path);
/* 1 when this machine and this build can run the path, else 0. */
int tsr_cpu_has(int path);
/* The fastest path this machine has. */
int tsr_cpu_best(void);
/* Makes all kernels use the path; 0 on success, -1 (nothing changed) when the machine lacks it. */
int tsr_cpu_select(int path);
/* The path in use. */
int tsr_cpu_selected(void);
/* The path whose Huffman, plane, code and quantization kernels run when `path` is selected: a path without a kernel of
 * its own for an area uses the next simpler one. */
int tsr_huffman_kernel_path(void);
int tsr_planes_kernel_path(void);
int tsr_code_kernel_path(void);
int tsr_linear_kernel_path(void);
int tsr_quantize_kernel_path(void);
int tsr_codebook_kernel_path(void);
int tsr_prune_kernel_path(void);

/* ---- Memory ------------------------------------------------------------------------------------ */

/* Asks the system to back a large buffer that is about to be filled with large pages: filling fresh
 * memory page by page costs more than decoding into it. A hint only; any size is fine. */
void tsr_memory_expect_fill(void *buffer, size_t size);

/* ---- Blocks of byte planes (docs/format.md, kind 1) -------------------------------------------- */

#define TSR_BLOCK_CONTENT_MAX ((size_t)1 << 20)

typedef enum tsr_codec {
    TSR_CODEC_AUTO = 0,
    TSR_CODEC_HUFFMAN = 1,
    TSR_CODEC_RAW = 2,
    TSR_CODEC_LZW = 3 /* slow; for planes that get smaller by it, the others as AUTO */
} tsr_codec;

typedef enum tsr_filter {
    TSR_FILTER_NONE = 0, /* 1 to 4: elements rotated left by that many bits */
    TSR_FILTER_ROTATE_MAX = 4,
    TSR_FILTER_DELTA = 5,
    TSR_FILTER_SPARSE = 8,   /* added to one of these: 0 and -0.0 are left out, and where they are is coded */
    TSR_FILTER_CHOOSE = 255 /* encoder only: the one that a sample says is smallest */
} tsr_filter;

/* Destination capacity that tsr_block_encode() needs; more than any finished payload, because planes
 * are coded in place. */
size_t tsr_block_encode_bound(size_t src_len);
/* Workspace of both directions. */
size_t tsr_block_workspace_size(size_t content_len);

/*
 * Codes one block. 1 <= src_len <= TSR_BLOCK_CONTENT_MAX; typesize is 1, 2, 4 or 8 and at most src_len;
 * dst_cap >= tsr_block_encode_bound(src_len); workspace has tsr_block_workspace_size(src_len) bytes.
 * `filter` other than TSR_FILTER_NONE needs typesize > 1 (TSR_FILTER_CHOOSE allows any). Sets *n_written
 * to the payload's size and *shape to the block header's shape byte. A block that would not get smaller by it is not
 * made sparse.
 */
tsr_result tsr_block_encode(uint8_t *dst, size_t dst_cap, const uint8_t *src, size_t src_len, int typesize,
                            int filter, int codec, void *workspace, size_t *n_written, uint8_t *shape);

/*
 * Decodes one block's payload into exactly dst_len bytes (1 <= dst_len <= TSR_BLOCK_CONTENT_MAX).
 * workspace has tsr_block_workspace_size(dst_len) bytes. On error *fault is the offset in src of the
 * plane or header that is wrong.
 */
tsr_result tsr_block_decode(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len, uint8_t shape,
                            void *workspace, size_t *fault);

/* What a block's payload says of its planes, without decoding it: how many there are, and each one's mode
 * and size; that of a sparse block's positions is the first. The same checks as tsr_block_decode() makes before
 * decoding. */
#define TSR_BLOCK_PLANES_MAX 9
typedef struct tsr_plane_info {
    uint8_t mode;
    uint32_t size;
} tsr_plane_info;

tsr_result tsr_block_inspect(const uint8_t *src, size_t src_len, size_t content_len, uint8_t shape,
                             tsr_plane_info planes[TSR_BLOCK_PLANES_MAX], int *n_planes);

/* ---- Huffman, the parts that tests and teaching look at ------------------------------------------ */

#define TSR_HUFFMAN_MAX_LENGTH 11

/* Byte counts: counts[b] becomes the number of times b occurs. */
void tsr_huffman_histogram(uint32_t counts[256], const uint8_t *src, size_t src_len);
/* Optimal code lengths of at most TSR_HUFFMAN_MAX_LENGTH bits. Two or more counts must be non-zero and
 * their sum at most TSR_BLOCK_CONTENT_MAX. */
void tsr_huffman_code_lengths(uint8_t lengths[256], const uint32_t counts[256]);

/* ---- Huffman codes for alphabets of up to 2^24 symbols (docs/huffman.md) -------------------------- */

/* Longest code that is coded and decoded here; an optimal code needs 2^38 symbols of data to have a
 * longer one. */
#define TSR_CODE_MAX_LENGTH 56
#define TSR_CODE_SYMBOLS_MAX ((size_t)1 << 24)
/* From this many symbols on, data is cut into so many bit strings that are decoded side by side. */
#define TSR_CODE_STRINGS 6
#define TSR_CODE_STRINGS_MIN ((size_t)1 << 14)

/*
 * Optimal lengths for n weights in ascending order, 2 <= n <= TSR_CODE_SYMBOLS_MAX, none of them zero and
 * their sum at most 2^56; none of the lengths is above max_length, and n <= 2^max_length. lengths[i] belongs
 * to weights[i]. The unlimited code where its longest is within the limit, else by package-merge.
 */
size_t tsr_code_lengths_workspace_size(size_t n, int max_length);
void tsr_code_lengths(uint8_t *lengths, const uint64_t *weights, size_t n, int max_length, void *workspace);

/* How often each 16-bit value occurs among n. workspace has tsr_code_histogram_workspace_size() bytes. */
size_t tsr_code_histogram_workspace_size(void);
void tsr_code_histogram16(uint64_t counts[65536], const uint8_t *src, size_t n, void *workspace);

/*
 * Code table of an alphabet of n_alphabet values (at most TSR_CODE_SYMBOLS_MAX): from the length of each,
 * 0 for absent ones, and back. tsr_code_table_write() returns the size, at most tsr_code_table_bound().
 * tsr_code_table_read() refuses whatever is not the table of a complete code of lengths from 1 to
 * TSR_CODE_MAX_LENGTH, but for a code of one symbol, whose length is 1.
 */
size_t tsr_code_table_bound(size_t n_alphabet);
size_t tsr_code_table_write(uint8_t *dst, const uint8_t *lengths, size_t n_alphabet);
tsr_result tsr_code_table_read(uint8_t *lengths, size_t n_alphabet, const uint8_t *src, size_t src_len);

/*
 * Symbols are numbers of `width` bytes (1, 2 or 4), n of them. words[s] is the code of symbol s:
 * code << 6 | length, or 0 where it has none; words has an entry for every number that occurs.
 * tsr_code_measure() adds up the bits of each string that tsr_code_encode() will write; its result is n,
 * or the index of the first symbol without a code. tsr_code_encoded_size() is the size that follows.
 * tsr_code_encode() needs that and TSR_CODE_SLACK bytes more of room.
 */
#define TSR_CODE_SLACK 8
size_t tsr_code_measure(uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words, const uint8_t *src, size_t n,
                        int width);
size_t tsr_code_encoded_size(const uint64_t n_bits[TSR_CODE_STRINGS], size_t n);
void tsr_code_encode(uint8_t *dst, const uint64_t n_bits[TSR_CODE_STRINGS], const uint64_t *words,
                     const uint8_t *src, size_t n, int width);
/* One plain bit string, whatever n is; (bits + 7) / 8 + TSR_CODE_SLACK bytes of room. */
void tsr_code_encode_bits(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n, int width);

/*
 * Makes a decoder of tsr_code_decoder_size(n) bytes, to be used by any number of threads. The n symbols are
 * in canonical order, n_of_length[l] of them have codes of l bits. Refuses what is no complete code, but for
 * a code of one symbol and one bit.
 */
size_t tsr_code_decoder_size(size_t n);
tsr_result tsr_code_decoder_init(void *decoder, const uint32_t n_of_length[TSR_CODE_MAX_LENGTH + 1],
                                 const uint32_t *symbols, size_t n);

/* How many symbols the data says it holds; never more than 8 * src_len. *n_read is the size of the count. */
tsr_result tsr_code_decode_count(const void *decoder, const uint8_t *src, size_t src_len, uint64_t *n,
                                 size_t *n_read);
/* Decodes what tsr_code_encode() wrote: n symbols, which is the number that src says. */
tsr_result tsr_code_decode(const void *decoder, uint8_t *dst, size_t n, int width, const uint8_t *src,
                           size_t src_len);
/*
 * Decodes a plain bit string until there are n_max symbols or the n_bits bits are used up; n_bits is at most
 * 8 * src_len. Sets *n to the number of symbols and *n_used to that of bits. A string that ends inside a
 * code is an error.
 */
tsr_result tsr_code_decode_bits(const void *decoder, uint8_t *dst, size_t n_max, int width, const uint8_t *src,
                                size_t src_len, uint64_t n_bits, size_t *n, uint64_t *n_used);

/* ---- LZW (docs/lzw.md) ---------------------------------------------------------------------------- */

/* What tells the dialects apart. A decoder or encoder copies it. */
typedef struct tsr_lzw_dialect {
    uint8_t msb_first;    /* 1: a code begins at the high end of a byte (TIFF, PDF); 0: at the low end */
    uint8_t literal_bits; /* 1 to 8: the codes below 2^literal_bits are bytes */
    uint8_t max_bits;     /* the table holds 2^max_bits codes: literal_bits + 1 to 16 */
    uint8_t early_change; /* 1: the width grows one code early (TIFF; PDF by default); needs 2 literal_bits */
    uint8_t clear_code;   /* 1: code 2^literal_bits empties the table */
    uint8_t end_code;     /* 1: the code after the clear code's place ends the data (needs clear_code) */
    uint8_t grouped;      /* 1: Unix .Z: a width's codes come in groups of eight; the last group is filled up */
    uint8_t full_grows;   /* 1: a full table makes codes wider once more: how gzip reads .Z of max_bits 9 */
} tsr_lzw_dialect;

typedef enum tsr_lzw_status {
    TSR_LZW_NEED_INPUT = 0,  /* all of src is used and more may follow */
    TSR_LZW_OUTPUT_FULL = 1, /* dst is full and there is more to write, or may be */
    TSR_LZW_END = 2          /* decoder: the end code was read; encoder: all is written */
} tsr_lzw_status;

/* How far a call came. On an error n_read is the offset in src of the code that is wrong (0 when it began in an
 * earlier call's src), and the n_written bytes before it are right. */
typedef struct tsr_lzw_progress {
    size_t n_read;
    size_t n_written;
    tsr_lzw_status status;
} tsr_lzw_progress;

/* State of a decoder or encoder: memory of tsr_lzw_*_size() bytes, aligned to 8, which the caller owns; both are
 * under 1.25 MiB for every dialect. _init() takes well under a microsecond. After an error, init again. */
typedef struct tsr_lzw_decoder tsr_lzw_decoder;
typedef struct tsr_lzw_encoder tsr_lzw_encoder;

/* 1 if the core can code the dialect: beyond the ranges above, grouped ones have neither an end code nor the early
 * change, and only they may have full_grows. */
int tsr_lzw_dialect_valid(const tsr_lzw_dialect *dialect);

size_t tsr_lzw_decoder_size(const tsr_lzw_dialect *dialect);
void tsr_lzw_decoder_init(tsr_lzw_decoder *decoder, const tsr_lzw_dialect *dialect);

/* Decodes on, the output of each call following that of the call before; neither src nor dst is looked at
 * again after the call. Input may be cut at any byte, output at any size. Bytes of dst past the n_written ones may
 * be overwritten. When dst is full, control codes that follow are still read: an end code is seen. */
tsr_result tsr_lzw_decode(tsr_lzw_decoder *decoder, uint8_t *dst, size_t dst_len, const uint8_t *src,
                          size_t src_len, tsr_lzw_progress *progress);

/* The same and faster, for a caller who has all output in one piece: dst[0, n_before) is what earlier calls
 * with this decoder wrote (the caller may have moved it), new bytes go to dst[n_before, dst_len), and
 * progress->n_written counts the new ones. A decoder is used with one of the two functions only. */
tsr_result tsr_lzw_decode_whole(tsr_lzw_decoder *decoder, uint8_t *dst, size_t n_before, size_t dst_len,
                                const uint8_t *src, size_t src_len, tsr_lzw_progress *progress);

size_t tsr_lzw_encoder_size(const tsr_lzw_dialect *dialect);
void tsr_lzw_encoder_init(tsr_lzw_encoder *encoder, const tsr_lzw_dialect *dialect);

/* Encodes on. With `finish` set the input ends here: call again with the rest of src (or none) until the status
 * is TSR_LZW_END. Bytes that are no literals of the dialect are TSR_ERR_LZW_SYMBOL. */
tsr_result tsr_lzw_encode(tsr_lzw_encoder *encoder, uint8_t *dst, size_t dst_len, const uint8_t *src,
                          size_t src_len, int finish, tsr_lzw_progress *progress);

/* Room that the codes of src_len bytes take at the most, from _init() to the end. */
size_t tsr_lzw_encode_bound(const tsr_lzw_dialect *dialect, size_t src_len);

/* ---- Affine quantization (docs/quantization.md) -------------------------------------------------------- */

typedef enum tsr_float_type { TSR_FLOAT32 = 0, TSR_FLOAT16 = 1, TSR_BFLOAT16 = 2, TSR_FLOAT64 = 3 } tsr_float_type;

/* Size of an element. */
size_t tsr_float_size(int type);

/* Which elements share parameters: of n elements, a multiple of n_channels * n_inner, element i belongs to channel
 * i / n_inner % n_channels. One channel: all share; n_inner of 1: each column has its own. Both are at least 1. */
typedef struct tsr_channels {
    size_t n, n_channels, n_inner;
} tsr_channels;

/* Arrays of floats are aligned to their elements. Elements of all types are first rounded to float32; those beyond
 * its range become infinite. */

/*
 * Least and greatest finite element of each channel; an infinite min and max, upside down, where there is none.
 * Returns the index of the first element that is not finite, or n.
 */
size_t tsr_float_range(float *min, float *max, const void *src, int type, const tsr_channels *channels);

/*
 * Adds to counts[channel * n_bins + bin]: bins of equal width from -limit[channel] to limit[channel], to the outer
 * of which belongs what is beyond. n_bins is even, limits are powers of two. What is not finite is not counted.
 */
void tsr_float_histogram(uint64_t *counts, size_t n_bins, const double *limit, const void *src, int type,
                         const tsr_channels *channels);

/* Integers of so many bits and fewer are stored two a byte. */
#define TSR_AFFINE_PACKED_BITS 4

/*
 * Scale, and zero point unless `zero` is NULL, of n ranges, widened to have zero in them, for integers of 2 to 8
 * bits: from 0 with a zero point, else from -(2^(bits - 1) - 1). A scale is at least 2^-126, and 1 for a range of
 * zero alone or of nothing.
 */
void tsr_affine_parameters(float *scale, uint8_t *zero, const float *min, const float *max, size_t n, int bits);

/*
 * q = clamp(round(x / scale) + zero), the exact quotient, halves rounded to even, NaN as zero; and back, x = (q - zero) * scale, float32
 * rounded to the type, what is beyond float32 to its largest finite value. Scales are finite and above zero. Stored
 * is a byte for each element, signed if `zero` is NULL, or for few bits half a byte, two's complement if signed: the
 * lower half first, rows of n_row elements, which divides n, each from a byte of its own, the last half zero.
 * tsr_affine_quantize() returns the index of the first element that is not finite, or n.
 */
size_t tsr_affine_quantize(uint8_t *dst, const void *src, int type, const tsr_channels *channels,
                           const float *scale, const uint8_t *zero, int bits, size_t n_row);
void tsr_affine_dequantize(void *dst, int type, const uint8_t *src, const tsr_channels *channels, const float *scale,
                           const uint8_t *zero, int bits, size_t n_row);

/* Adds to error[channel] the squared errors that quantizing the finite elements makes. */
void tsr_affine_error(double *error, const void *src, int type, const tsr_channels *channels, const float *scale,
                      const uint8_t *zero, int bits);

/* A byte for each of n elements, of which the low four bits count, to rows of halves as above, and back. */
void tsr_nibbles_pack(uint8_t *dst, const uint8_t *src, size_t n, size_t n_row);
void tsr_nibbles_unpack(uint8_t *dst, const uint8_t *src, size_t n, size_t n_row);

/* ---- Codebooks (docs/quantization.md) -------------------------------------------------------------- */

#define TSR_CODEBOOK_LEVELS_MAX 256

/*
 * Elements share a codebook, or a scale, in runs: element e of the array, counted in the order of memory, is of
 * group (e / run) % n_groups. Levels ascend, equal ones allowed; -infinity may be the first, infinity the last, and a NaN
 * after that.
 */
typedef struct tsr_codebook {
    const float *levels; /* n_codebooks rows of n_levels */
    const float *scales; /* one a group, none negative; or NULL */
    size_t n_levels;     /* 1 to TSR_CODEBOOK_LEVELS_MAX */
    size_t n_codebooks;  /* n_groups, or 1 for all of them */
    size_t n_groups;
    size_t run;
} tsr_codebook;

/* A piece of the array. Packed indices come two a byte, the first in the low half, and each row begins with a
 * byte; they need n_levels <= 16. */
typedef struct tsr_codebook_rows {
    size_t first; /* element of the array that the piece begins with */
    size_t n_rows, row;
    int packed;
} tsr_codebook_rows;

/* The search tree of one row of levels, and its size in bytes. */
size_t tsr_codebook_tree_size(size_t n_levels);
void tsr_codebook_tree(float *tree, const float *levels, size_t n_levels);

/*
 * Sets the index of the nearest level for each element, rounded to float32 and divided by the group's scale where
 * there are scales (by 1 where that is 0). In the middle between two levels the lower is taken, of equal levels the
 * first, and for NaN the last of all. `trees` has one for each codebook. Where error is not NULL it becomes the sum of
 * the squared differences between the finite elements and what dequantizing to float32 makes of them. Returns the
 * index in the piece of the first element that is not finite, or the number of elements.
 */
size_t tsr_codebook_assign(uint8_t *dst, const void *x, int type, const tsr_codebook_rows *rows,
                           const tsr_codebook *codebook, const float *trees, double *error);
/* The way back. Indices may be any bytes: those beyond the codebook are an error. */
tsr_result tsr_codebook_dequantize(void *dst, int type, const uint8_t *indices, const tsr_codebook_rows *rows,
                                   const tsr_codebook *codebook);

/* Sorts values, -0 as 0 and NaN to the end, and their weights with them (or both NULL). */
size_t tsr_sort_workspace_size(size_t n, int weighted);
void tsr_sort_floats(float *sorted, float *sorted_weights, const float *x, const float *weights, size_t n,
                     void *workspace);

/*
 * Condenses n >= 1 finite values to the means of neighbours, ascending, and how many there are of each; returns how
 * many means, at most TSR_CONDENSED_MAX. What is put together agrees in the upper 16 bits; of values that are frequent
 * there, in so many more that what agrees is no more than one in 2^15. Takes a quarter of the time that sorting does.
 */
#define TSR_CONDENSED_MAX (3 << 16)
size_t tsr_condense_workspace_size(void);
size_t tsr_condense(float *values, float *weights, const float *x, size_t n, void *workspace);

/*
 * Levels for the least sum of squared differences between n >= 1 finite values and the nearest level. The values have
 * been sorted; weights are above zero, or NULL for 1 each. keep_zero: one level is 0. Both arrays are changed. Returns the
 * number of levels, which is n_levels unless there are fewer different values.
 */
size_t tsr_kmeans_workspace_size(size_t n, int weighted);
size_t tsr_kmeans(float *codebook, size_t n_levels, float *sorted, float *weights, size_t n, int keep_zero,
                  void *workspace);

/* ---- Products with quantized matrices (docs/quantization.md) --------------------------------------- */

/* An n_out x n_in matrix of integers. Row o has (n_in * bits + 7) / 8 bytes; 4-bit numbers lie two in a byte, the
 * first in the low half. Number q of group g of a row stands for scale * (q - zero_point), both [o][g], or for
 * scale * q, q being signed, where zero_point is NULL. */
typedef struct tsr_linear {
    const uint8_t *values;
    const float *scale; /* n_out rows of n_groups, the number of groups it takes to cover a row */
    const uint8_t *zero_point;
    size_t n_out, n_in; /* n_in > 0 */
    size_t group_size;  /* a multiple of TSR_LINEAR_GROUP, or n_in */
    int bits;           /* 8 or 4 */
} tsr_linear;

#define TSR_LINEAR_GROUP 32

/* Rounds n_rows of activations to 16 bits and puts them in a workspace of tsr_linear_workspace_size() bytes. They
 * share a factor in blocks of 256 or the largest power of two below that divides group_size; the error of each is
 * at most 2^-16 of the block's largest. A block with NaN or infinity becomes NaN. */
size_t tsr_linear_workspace_size(const tsr_linear *w, size_t n_rows);
void tsr_linear_prepare(void *workspace, const tsr_linear *w, const float *src, size_t n_rows);

/* Output features [first, last) of the activations that were prepared; dst has n_rows of n_out floats. Integers
 * are added up exactly, blocks in a fixed order: all paths give the same. */
void tsr_linear_multiply(float *dst, const tsr_linear *w, const void *workspace, size_t n_rows, size_t first,
                         size_t last);

/* ---- Pruning (docs/pruning.md) ---------------------------------------------------------------------- */

/*
 * Binary floats of 2, 4 or 8 bytes are compared as integers that sort as they do, their keys: by magnitude the
 * bits without the sign, by value half the range plus or minus those. NaNs have no place among them.
 */
typedef struct tsr_prune_order {
    uint8_t width;
    uint8_t by_value;  /* 1: -2 < 1; 0: 1 < |-2| */
    uint64_t infinity; /* bits of the type's infinity */
} tsr_prune_order;

/* Where a key stands among others. */
typedef struct tsr_prune_rank {
    uint64_t key;
    size_t n_less;
    size_t n_equal; /* itself included */
} tsr_prune_rank;

typedef struct tsr_prune_counts {
    size_t n_below;
    size_t n_inside;
    int has_nan;
} tsr_prune_counts;

/* Keys of n_keys numbers (a multiple of 16, at most n), runs of 16 that lie evenly over the n. */
void tsr_prune_sample(void *keys, size_t n_keys, const uint8_t *src, size_t n, const tsr_prune_order *order);
/* Counts the numbers with keys below lo, and from lo to hi <= the key of infinity; those keys are collected if there
 * are no more than cap. */
void tsr_prune_count(tsr_prune_counts *counts, void *keys, size_t cap, const uint8_t *src, size_t n,
                     const tsr_prune_order *order, uint64_t lo, uint64_t hi);
/* Adds to counts[(key - lo) >> shift] for the keys from lo to hi, with the least shift that makes so many bins do. */
#define TSR_PRUNE_BITS 11
#define TSR_PRUNE_BINS ((size_t)1 << TSR_PRUNE_BITS)
void tsr_prune_histogram(uint64_t counts[TSR_PRUNE_BINS], const uint8_t *src, size_t n, const tsr_prune_order *order,
                         uint64_t lo, uint64_t hi);
/* Finds the key of rank `rank` < n (0: the least) among n keys, which are lost. */
void tsr_prune_select(tsr_prune_rank *found, void *keys, size_t n, int width, size_t rank);
/* The same in each row of n numbers; workspace has room for the keys of one. */
void tsr_prune_select_rows(tsr_prune_rank *found, const uint8_t *src, size_t n_rows, size_t n,
                           const tsr_prune_order *order, size_t rank, void *workspace);

/*
 * What is kept: numbers with keys above the threshold, and the first *n_ties of those at it. *n_ties becomes what is
 * left of it, for the next piece of the same numbers. Masks have a byte for each number: 1 keeps it, 0 does not.
 * The apply functions make zeros of the others in place and return how many those are.
 */
void tsr_prune_mask(uint8_t *mask, const uint8_t *src, size_t n, const tsr_prune_order *order, uint64_t threshold,
                    size_t *n_ties);
size_t tsr_prune_apply(uint8_t *x, size_t n, const tsr_prune_order *order, uint64_t threshold, size_t *n_ties);
/* By the keys of other numbers than x, whose width is another. */
size_t tsr_prune_apply_scored(uint8_t *x, int width, const uint8_t *scores, size_t n, const tsr_prune_order *order,
                              uint64_t threshold, size_t *n_ties);
/* Keeps where the mask is not zero. */
size_t tsr_prune_apply_mask(uint8_t *x, int width, const uint8_t *mask, size_t n);
/* Leaves out the n_pruned least of each row, the last of equal ones, by the rank of the key that is n_pruned-th. */
void tsr_prune_mask_rows(uint8_t *mask, const uint8_t *src, size_t n_rows, size_t n, const tsr_prune_order *order,
                         const tsr_prune_rank *ranks, size_t n_pruned);
/* Keeps the n_kept largest of each m consecutive numbers, the first of equal ones; 0 <= n_kept <= m. */
#define TSR_PRUNE_M_MAX 32
void tsr_prune_mask_nm(uint8_t *mask, const uint8_t *src, size_t n_groups, const tsr_prune_order *order, int n_kept,
                       int m);
/* n bytes that are zero or not as bits, the first in the lowest bit of a byte, and back. */
void tsr_prune_pack(uint8_t *bits, const uint8_t *mask, size_t n);
void tsr_prune_unpack(uint8_t *mask, const uint8_t *bits, size_t n);

#ifdef __cplusplus
}
#endif
#endif
