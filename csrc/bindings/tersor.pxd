# cython: language_level=3
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "tersor.h" nogil:
    ctypedef int tsr_result
    enum:
        TSR_OK
        TSR_ERR_DST_TOO_SMALL
        TSR_ERR_SHAPE
        TSR_ERR_MODE
        TSR_ERR_LZW_SYMBOL
        TSR_RESULT_LAST
        TSR_CPU_PATHS
        TSR_BLOCK_CONTENT_MAX
        TSR_CODEC_AUTO
        TSR_CODEC_HUFFMAN
        TSR_CODEC_RAW
        TSR_CODEC_LZW
        TSR_FILTER_DELTA
        TSR_FILTER_SPARSE
        TSR_FILTER_CHOOSE
        TSR_HUFFMAN_MAX_LENGTH
        TSR_LZW_NEED_INPUT
        TSR_LZW_OUTPUT_FULL
        TSR_LZW_END
        TSR_CODE_MAX_LENGTH
        TSR_CODE_SYMBOLS_MAX
        TSR_CODE_STRINGS
        TSR_CODE_SLACK
        TSR_CODEBOOK_LEVELS_MAX
        TSR_PRUNE_BITS
        TSR_PRUNE_M_MAX
        TSR_CONDENSED_MAX

    const char *tsr_result_text(int result)

    const char *tsr_cpu_path_name(int path)
    int tsr_cpu_has(int path)
    int tsr_cpu_best()
    int tsr_cpu_select(int path)
    int tsr_cpu_selected()
    int tsr_huffman_kernel_path()
    int tsr_planes_kernel_path()
    int tsr_code_kernel_path()
    int tsr_linear_kernel_path()
    int tsr_quantize_kernel_path()
    int tsr_codebook_kernel_path()
    int tsr_prune_kernel_path()

    void tsr_memory_expect_fill(void *buffer, size_t size)

    size_t tsr_block_encode_bound(size_t src_len)
    size_t tsr_block_workspace_size(size_t content_len)
    tsr_result tsr_block_encode(uint8_t *dst, size_t dst_cap, const uint8_t *src, size_t src_len, int typesize,
                                int filter, int codec, void *workspace, size_t *n_written, uint8_t *shape)
    tsr_result tsr_block_decode(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len, uint8_t shape,
                                void *workspace, size_t *fault)

    ctypedef struct tsr_plane_info:
        uint8_t mode
        uint32_t size
    tsr_result tsr_block_inspect(const uint8_t *src, size_t src_len, size_t content_len, uint8_t shape,
                                 tsr_plane_info *planes, int *n_planes)

    void tsr_huffman_histogram(uint32_t *counts, const uint8_t *src, size_t src_len)
    void tsr_huffman_code_lengths(uint8_t *lengths, const uint32_t *counts)

    ctypedef struct tsr_lzw_dialect:
        uint8_t msb_first
        uint8_t literal_bits
        uint8_t max_bits
        uint8_t early_change
        uint8_t clear_code
        uint8_t end_code
        uint8_t grouped
        uint8_t full_grows
    ctypedef struct tsr_lzw_progress:
        size_t n_read
        size_t n_written
        int status
    ctypedef struct tsr_lzw_decoder:
        pass
    ctypedef struct tsr_lzw_encoder:
        pass

    int tsr_lzw_dialect_valid(const tsr_lzw_dialect *dialect)

    size_t tsr_lzw_decoder_size(const tsr_lzw_dialect *dialect)
    void tsr_lzw_decoder_init(tsr_lzw_decoder *decoder, const tsr_lzw_dialect *dialect)
    tsr_result tsr_lzw_decode(tsr_lzw_decoder *decoder, uint8_t *dst, size_t dst_len, const uint8_t *src,
                              size_t src_len, tsr_lzw_progress *progress)
    tsr_result tsr_lzw_decode_whole(tsr_lzw_decoder *decoder, uint8_t *dst, size_t n_before, size_t dst_len,
                                    const uint8_t *src, size_t src_len, tsr_lzw_progress *progress)

    size_t tsr_lzw_encoder_size(const tsr_lzw_dialect *dialect)
    void tsr_lzw_encoder_init(tsr_lzw_encoder *encoder, const tsr_lzw_dialect *dialect)
    tsr_result tsr_lzw_encode(tsr_lzw_encoder *encoder, uint8_t *dst, size_t dst_len, const uint8_t *src,
                              size_t src_len, int finish, tsr_lzw_progress *progress)
    size_t tsr_lzw_encode_bound(const tsr_lzw_dialect *dialect, size_t src_len)
    size_t tsr_code_lengths_workspace_size(size_t n, int max_length)
    void tsr_code_lengths(uint8_t *lengths, const uint64_t *weights, size_t n, int max_length, void *workspace)
    size_t tsr_code_histogram_workspace_size()
    void tsr_code_histogram16(uint64_t *counts, const uint8_t *src, size_t n, void *workspace)
    size_t tsr_code_table_bound(size_t n_alphabet)
    size_t tsr_code_table_write(uint8_t *dst, const uint8_t *lengths, size_t n_alphabet)
    tsr_result tsr_code_table_read(uint8_t *lengths, size_t n_alphabet, const uint8_t *src, size_t src_len)
    size_t tsr_code_measure(uint64_t *n_bits, const uint64_t *words, const uint8_t *src, size_t n, int width)
    size_t tsr_code_encoded_size(const uint64_t *n_bits, size_t n)
    void tsr_code_encode(uint8_t *dst, const uint64_t *n_bits, const uint64_t *words, const uint8_t *src, size_t n,
                         int width)
    void tsr_code_encode_bits(uint8_t *dst, const uint64_t *words, const uint8_t *src, size_t n, int width)
    size_t tsr_code_decoder_size(size_t n)
    tsr_result tsr_code_decoder_init(void *decoder, const uint32_t *n_of_length, const uint32_t *symbols, size_t n)
    tsr_result tsr_code_decode_count(const void *decoder, const uint8_t *src, size_t src_len, uint64_t *n,
                                     size_t *n_read)
    tsr_result tsr_code_decode(const void *decoder, uint8_t *dst, size_t n, int width, const uint8_t *src,
                               size_t src_len)
    tsr_result tsr_code_decode_bits(const void *decoder, uint8_t *dst, size_t n_max, int width,
                                    const uint8_t *src, size_t src_len, uint64_t n_bits, size_t *n,
                                    uint64_t *n_used)

    enum:
        TSR_FLOAT32
        TSR_FLOAT16
        TSR_BFLOAT16
        TSR_FLOAT64
        TSR_AFFINE_PACKED_BITS
    ctypedef struct tsr_channels:
        size_t n
        size_t n_channels
        size_t n_inner
    size_t tsr_float_size(int type)
    size_t tsr_float_range(float *min, float *max, const void *src, int type, const tsr_channels *channels)
    void tsr_float_histogram(uint64_t *counts, size_t n_bins, const double *limit, const void *src, int type,
                             const tsr_channels *channels)
    void tsr_affine_parameters(float *scale, uint8_t *zero, const float *min, const float *max, size_t n, int bits)
    size_t tsr_affine_quantize(uint8_t *dst, const void *src, int type, const tsr_channels *channels,
                               const float *scale, const uint8_t *zero, int bits, size_t n_row)
    void tsr_affine_dequantize(void *dst, int type, const uint8_t *src, const tsr_channels *channels,
                               const float *scale, const uint8_t *zero, int bits, size_t n_row)
    void tsr_affine_error(double *error, const void *src, int type, const tsr_channels *channels,
                          const float *scale, const uint8_t *zero, int bits)
    void tsr_nibbles_pack(uint8_t *dst, const uint8_t *src, size_t n, size_t n_row)
    void tsr_nibbles_unpack(uint8_t *dst, const uint8_t *src, size_t n, size_t n_row)

    ctypedef struct tsr_codebook:
        const float *levels
        const float *scales
        size_t n_levels
        size_t n_codebooks
        size_t n_groups
        size_t run
    ctypedef struct tsr_codebook_rows:
        size_t first
        size_t n_rows
        size_t row
        int packed
    size_t tsr_codebook_tree_size(size_t n_levels)
    void tsr_codebook_tree(float *tree, const float *levels, size_t n_levels)
    size_t tsr_codebook_assign(uint8_t *dst, const void *x, int type, const tsr_codebook_rows *rows,
                               const tsr_codebook *codebook, const float *trees, double *error)
    tsr_result tsr_codebook_dequantize(void *dst, int type, const uint8_t *indices, const tsr_codebook_rows *rows,
                                       const tsr_codebook *codebook)
    size_t tsr_sort_workspace_size(size_t n, int weighted)
    void tsr_sort_floats(float *sorted, float *sorted_weights, const float *x, const float *weights, size_t n,
                         void *workspace)
    size_t tsr_condense_workspace_size()
    size_t tsr_condense(float *values, float *weights, const float *x, size_t n, void *workspace)
    size_t tsr_kmeans_workspace_size(size_t n, int weighted)
    size_t tsr_kmeans(float *codebook, size_t n_levels, float *sorted, float *weights, size_t n, int keep_zero,
                      void *workspace)

    enum:
        TSR_LINEAR_GROUP
    ctypedef struct tsr_linear:
        const uint8_t *values
        const float *scale
        const uint8_t *zero_point
        size_t n_out, n_in, group_size
        int bits
    size_t tsr_linear_workspace_size(const tsr_linear *w, size_t n_rows)
    void tsr_linear_prepare(void *workspace, const tsr_linear *w, const float *src, size_t n_rows)
    void tsr_linear_multiply(float *dst, const tsr_linear *w, const void *workspace, size_t n_rows, size_t first,
                             size_t last)

    ctypedef struct tsr_prune_order:
        uint8_t width
        uint8_t by_value
        uint64_t infinity
    ctypedef struct tsr_prune_rank:
        uint64_t key
        size_t n_less
        size_t n_equal
    ctypedef struct tsr_prune_counts:
        size_t n_below
        size_t n_inside
        int has_nan
    void tsr_prune_sample(void *keys, size_t n_keys, const uint8_t *src, size_t n, const tsr_prune_order *order)
    void tsr_prune_count(tsr_prune_counts *counts, void *keys, size_t cap, const uint8_t *src, size_t n,
                         const tsr_prune_order *order, uint64_t lo, uint64_t hi)
    void tsr_prune_histogram(uint64_t *counts, const uint8_t *src, size_t n, const tsr_prune_order *order,
                             uint64_t lo, uint64_t hi)
    void tsr_prune_select(tsr_prune_rank *found, void *keys, size_t n, int width, size_t rank)
    void tsr_prune_select_rows(tsr_prune_rank *found, const uint8_t *src, size_t n_rows, size_t n,
                               const tsr_prune_order *order, size_t rank, void *workspace)
    void tsr_prune_mask(uint8_t *mask, const uint8_t *src, size_t n, const tsr_prune_order *order,
                        uint64_t threshold, size_t *n_ties)
    size_t tsr_prune_apply(uint8_t *x, size_t n, const tsr_prune_order *order, uint64_t threshold, size_t *n_ties)
    size_t tsr_prune_apply_scored(uint8_t *x, int width, const uint8_t *scores, size_t n,
                                  const tsr_prune_order *order, uint64_t threshold, size_t *n_ties)
    size_t tsr_prune_apply_mask(uint8_t *x, int width, const uint8_t *mask, size_t n)
    void tsr_prune_mask_rows(uint8_t *mask, const uint8_t *src, size_t n_rows, size_t n,
                             const tsr_prune_order *order, const tsr_prune_rank *ranks, size_t n_pruned)
    void tsr_prune_mask_nm(uint8_t *mask, const uint8_t *src, size_t n_groups, const tsr_prune_order *order,
                           int n_kept, int m)
    void tsr_prune_pack(uint8_t *bits, const uint8_t *mask, size_t n)
    void tsr_prune_unpack(uint8_t *mask, const uint8_t *bits, size_t n)
