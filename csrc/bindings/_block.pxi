# Blocks of byte planes, and the parts of Huffman coding that tests look at.

CODEC_AUTO = TSR_CODEC_AUTO
CODEC_HUFFMAN = TSR_CODEC_HUFFMAN
CODEC_RAW = TSR_CODEC_RAW
CODEC_LZW = TSR_CODEC_LZW
FILTER_CHOOSE = TSR_FILTER_CHOOSE
FILTER_SPARSE = TSR_FILTER_SPARSE
BLOCK_CONTENT_MAX = TSR_BLOCK_CONTENT_MAX


def encode_bound(size_t content_size):
    """Room in bytes that coding a block takes while it works; more than any payload."""
    return tsr_block_encode_bound(content_size)


def encode_block_into(const uint8_t[::1] content not None, uint8_t[::1] out not None, int typesize=1,
                      int filter=TSR_FILTER_CHOOSE, int codec=TSR_CODEC_AUTO):
    """Code one block of byte planes to the front of `out`.

    Parameters
    ----------
    content : buffer of bytes
        1 to `BLOCK_CONTENT_MAX` bytes, at least `typesize`.
    out : writable buffer of bytes
        At least `encode_bound(len(content))` bytes; what follows the payload in it is unspecified
        after.
    typesize : {1, 2, 4, 8}
    filter : int
        0 to 5 as in the format, with `FILTER_SPARSE` added for a sparse block, or `FILTER_CHOOSE`.
    codec : int
        One of the `CODEC_` constants.

    Returns
    -------
    shape : int
        The block header's shape byte.
    n_written : int
        Size of the payload.
    """
    cdef size_t size = <size_t>content.shape[0], n_written = 0
    cdef uint8_t shape = 0
    cdef Workspace workspace = block_workspace()
    cdef int rc
    if typesize not in (1, 2, 4, 8) or not <size_t>typesize <= size <= TSR_BLOCK_CONTENT_MAX:
        raise ValueError("a block needs a type size of 1, 2, 4 or 8 and so many bytes to 1 MiB")
    if filter != TSR_FILTER_CHOOSE and (
        not 0 <= filter & ~TSR_FILTER_SPARSE <= TSR_FILTER_DELTA or (filter and typesize == 1)
    ):
        raise ValueError("unknown filter")
    if not 0 <= codec <= TSR_CODEC_LZW:
        raise ValueError("unknown codec")
    if out.shape[0] == 0:
        raise BufferError("the destination is too small")
    with nogil:
        rc = tsr_block_encode(&out[0], <size_t>out.shape[0], &content[0], size, typesize, filter, codec,
                              workspace.at, &n_written, &shape)
    check(rc, 0)
    return shape, n_written


def encode_block(content, typesize=1, filter=TSR_FILTER_CHOOSE, codec=TSR_CODEC_AUTO):
    """Code one block as `encode_block_into` does; returns its shape byte and its payload."""
    out = bytearray(encode_bound(len(content)))
    shape, size = encode_block_into(content, out, typesize, filter, codec)
    return shape, bytes(out[:size])


def decode_block(const uint8_t[::1] payload not None, int shape, uint8_t[::1] out not None):
    """Decode one block's payload into all of `out`.

    Raises
    ------
    CorruptDataError, UnsupportedFormatError
        The contents of `out` are then unspecified.
    """
    cdef size_t size = <size_t>out.shape[0], n_payload = <size_t>payload.shape[0], fault = 0
    cdef const uint8_t *src = &payload[0] if n_payload else NULL
    cdef Workspace workspace = block_workspace()
    cdef int rc
    if not 1 <= size <= TSR_BLOCK_CONTENT_MAX or not 0 <= shape <= 255:
        raise ValueError("a block holds 1 byte to 1 MiB")
    with nogil:
        rc = tsr_block_decode(&out[0], size, src, n_payload, <uint8_t>shape, workspace.at, &fault)
    check(rc, fault)


def inspect_block(const uint8_t[::1] payload not None, int shape, size_t content_size):
    """List (mode, size in bytes) of each plane of a block, before them of the positions of a sparse one."""
    cdef tsr_plane_info planes[9]
    cdef int n_planes = 0
    cdef size_t n_payload = <size_t>payload.shape[0]
    check(tsr_block_inspect(&payload[0] if n_payload else NULL, n_payload, content_size,
                            <uint8_t>shape, planes, &n_planes), 0)
    return [(planes[p].mode, planes[p].size) for p in range(n_planes)]


def histogram(const uint8_t[::1] data not None):
    """Count each byte value: a list of 256 counts."""
    cdef uint32_t counts[256]
    cdef size_t size = <size_t>data.shape[0]
    if size >> 32:
        raise ValueError("too long to count in 32 bits")
    with nogil:
        tsr_huffman_histogram(counts, &data[0] if size else NULL, size)
    return [counts[s] for s in range(256)]


def code_lengths(counts):
    """Optimal code lengths of at most 11 bits for 256 counts that add up to at most 2**20."""
    cdef uint32_t c_counts[256]
    cdef uint8_t lengths[256]
    if len(counts) != 256 or sum(counts) > TSR_BLOCK_CONTENT_MAX or sum(1 for c in counts if c) < 2:
        raise ValueError("256 counts with two symbols or more and a sum of at most 2**20 are needed")
    for s in range(256):
        c_counts[s] = counts[s]
    tsr_huffman_code_lengths(lengths, c_counts)
    return [lengths[s] for s in range(256)]
