# cython: language_level=3
from libc.stdint cimport uint8_t, uint32_t


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
        TSR_FILTER_CHOOSE
        TSR_HUFFMAN_MAX_LENGTH
        TSR_LZW_NEED_INPUT
        TSR_LZW_OUTPUT_FULL
        TSR_LZW_END

    const char *tsr_result_text(int result)

    const char *tsr_cpu_path_name(int path)
    int tsr_cpu_has(int path)
    int tsr_cpu_best()
    int tsr_cpu_select(int path)
    int tsr_cpu_selected()
    int tsr_huffman_kernel_path()
    int tsr_planes_kernel_path()

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
