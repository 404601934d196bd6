# LZW: dialects, whole data in one call, and streams.

LZW_NEED_INPUT = TSR_LZW_NEED_INPUT
LZW_OUTPUT_FULL = TSR_LZW_OUTPUT_FULL
LZW_END = TSR_LZW_END


cdef class LZWDialect:
    """A dialect that the core can code; see `tsr_lzw_dialect` for the fields."""
    cdef tsr_lzw_dialect c

    def __init__(self, bint msb_first, int literal_bits, int max_bits, bint early_change=False,
                 bint clear_code=True, bint end_code=True, bint grouped=False, bint full_grows=False):
        if not 0 <= literal_bits <= 255 or not 0 <= max_bits <= 255:
            raise ValueError("no dialect of LZW has codes so wide")
        self.c = tsr_lzw_dialect(msb_first, literal_bits, max_bits, early_change, clear_code, end_code, grouped,
                                 full_grows)
        if not tsr_lzw_dialect_valid(&self.c):
            raise ValueError("no such dialect of LZW")


# What a run does: decoding with all output in one piece, decoding a stream, encoding, and to the end.
cdef enum LZWTask:
    DECODE_WHOLE
    DECODE
    ENCODE
    ENCODE_END


cdef tsr_result lzw_call(LZWTask task, void *state, uint8_t *dst, size_t n_before, size_t dst_len,
                         const uint8_t *src, size_t src_len, tsr_lzw_progress *progress) noexcept nogil:
    if task == DECODE_WHOLE:
        return tsr_lzw_decode_whole(<tsr_lzw_decoder *>state, dst, n_before, dst_len, src, src_len, progress)
    if task == DECODE:
        return tsr_lzw_decode(<tsr_lzw_decoder *>state, dst + n_before, dst_len - n_before, src, src_len, progress)
    return tsr_lzw_encode(<tsr_lzw_encoder *>state, dst + n_before, dst_len - n_before, src, src_len,
                          task == ENCODE_END, progress)


cdef tuple lzw_run(LZWTask task, void *state, object data, Py_ssize_t start, Py_ssize_t room, size_t limit,
                   bytes prefix=b""):
    """Code `data` from byte `start` on into new bytes, which begin with `prefix`.

    They have room for `room` bytes more at first (if negative, so many for a byte of the data) and grow to
    `limit` at most. Returns the bytes, where in the data this ended, and the status, or the result if it is
    an error.
    """
    cdef Py_buffer source
    cdef PyObject *content = NULL
    cdef tsr_lzw_progress progress
    cdef const uint8_t *src
    cdef uint8_t *dst
    cdef size_t n_src, n_read, n = <size_t>len(prefix), size
    cdef int rc
    get_bytes(data, &source, False)
    try:
        if not 0 <= start <= source.len:
            raise ValueError("start must be within the data")
        src = <const uint8_t *>source.buf
        n_src, n_read = <size_t>source.len, <size_t>start
        limit += n
        size = min(n + (<size_t>room if room >= 0 else <size_t>-room * (n_src - n_read) + 64), limit)
        content = _new_bytes(NULL, <Py_ssize_t>size)
        memcpy(_bytes_at(content), <const char *>prefix, n)
        while True:
            dst = <uint8_t *>_bytes_at(content)
            with nogil:
                rc = lzw_call(task, state, dst, n, size, src + n_read, n_src - n_read, &progress)
            n_read += progress.n_read
            n += progress.n_written
            if rc != TSR_OK or progress.status != TSR_LZW_OUTPUT_FULL or size == limit:
                break
            size = min(2 * size + 64, limit)
            _resize_bytes(&content, <Py_ssize_t>size)
        if n != size:
            _resize_bytes(&content, <Py_ssize_t>n)
        return <object>content, n_read, rc if rc != TSR_OK else <int>progress.status
    finally:
        Py_XDECREF(content)
        PyBuffer_Release(&source)


cdef Workspace lzw_workspace():
    """This thread's memory for an encoder or a decoder of any dialect."""
    cdef tsr_lzw_dialect largest
    workspace = getattr(_local, "lzw_workspace", None)
    if workspace is None:
        largest = tsr_lzw_dialect(0, 8, 16, 0, 0, 0, 0, 0)
        size = max(tsr_lzw_decoder_size(&largest), tsr_lzw_encoder_size(&largest))
        workspace = _local.lzw_workspace = Workspace(size)
    return <Workspace>workspace


def lzw_decode(LZWDialect dialect not None, data, Py_ssize_t start, Py_ssize_t room, Py_ssize_t limit):
    """Decode whole data.

    Parameters
    ----------
    dialect : LZWDialect
    data : buffer
    start : int
        Where in `data` the codes begin.
    room : int
        Bytes of output to begin with: its size, where that is known; if negative, so many for a byte of `data`.
    limit : int
        Most bytes of output.

    Returns
    -------
    content : bytes
        On an error the bytes before it.
    n_read : int
        Where in `data` decoding ended, or the byte at which the wrong code begins.
    status : int
        One of the ``LZW_`` constants, or a negative result code.
    """
    cdef Workspace workspace = lzw_workspace()
    if limit < 0:
        raise ValueError("limit must not be negative")
    tsr_lzw_decoder_init(<tsr_lzw_decoder *>workspace.at, &dialect.c)
    return lzw_run(DECODE_WHOLE, workspace.at, data, start, room, <size_t>limit)


def lzw_decode_into(LZWDialect dialect not None, data, Py_ssize_t start, out, Py_ssize_t limit):
    """Decode whole data into a buffer, up to `limit` bytes, or -1 for all that it has room for.

    Returns
    -------
    n_written : int
    n_read, status : int
        As `lzw_decode` returns them.

    Raises
    ------
    ValueError
        If `out` is not writable and contiguous, has less than `limit` bytes, or overlaps the data.
    """
    cdef Workspace workspace = lzw_workspace()
    cdef Py_buffer source, target
    cdef tsr_lzw_progress progress
    cdef const uint8_t *src
    cdef uint8_t *dst
    cdef int rc
    get_bytes(data, &source, False)
    try:
        try:
            get_bytes(out, &target, True)
        except BufferError:
            raise ValueError("out must be a writable, contiguous buffer") from None
        try:
            if limit < 0:
                limit = target.len
            if limit > target.len:
                raise ValueError(f"out has {target.len} bytes, {limit} are expected")
            if not 0 <= start <= source.len:
                raise ValueError("start must be within the data")
            src, dst = <const uint8_t *>source.buf, <uint8_t *>target.buf
            if src < dst + target.len and <const uint8_t *>dst < src + source.len:
                raise ValueError("out overlaps the data")
            tsr_lzw_decoder_init(<tsr_lzw_decoder *>workspace.at, &dialect.c)
            with nogil:
                rc = lzw_call(DECODE_WHOLE, workspace.at, dst, 0, <size_t>limit, src + start,
                              <size_t>(source.len - start), &progress)
            return progress.n_written, start + progress.n_read, rc if rc != TSR_OK else <int>progress.status
        finally:
            PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)


def lzw_encode(LZWDialect dialect not None, data, bytes prefix=b""):
    """Encode whole data; the result begins with `prefix`.

    Raises
    ------
    ValueError
        If a byte is no literal of the dialect.
    """
    cdef Workspace workspace = lzw_workspace()
    cdef size_t bound = tsr_lzw_encode_bound(&dialect.c, <size_t>buffer_size(data))
    tsr_lzw_encoder_init(<tsr_lzw_encoder *>workspace.at, &dialect.c)
    content, n_read, status = lzw_run(ENCODE_END, workspace.at, data, 0, <Py_ssize_t>bound, bound, prefix)
    check(min(status, TSR_OK), n_read, "")
    return content


cdef class LZWDecoder:
    """A stream being decoded. Not for two threads at a time."""
    cdef Workspace state

    def __init__(self, LZWDialect dialect not None):
        self.state = Workspace(tsr_lzw_decoder_size(&dialect.c))
        tsr_lzw_decoder_init(<tsr_lzw_decoder *>self.state.at, &dialect.c)

    def decode(self, data, Py_ssize_t start, Py_ssize_t limit):
        """Decode on, as `lzw_decode` does. After an error the stream cannot go on."""
        if limit < 0:
            raise ValueError("limit must not be negative")
        return lzw_run(DECODE, self.state.at, data, start, -4, <size_t>limit)


cdef class LZWEncoder:
    """A stream being encoded. Not for two threads at a time."""
    cdef Workspace state
    cdef LZWDialect dialect

    def __init__(self, LZWDialect dialect not None):
        self.dialect = dialect
        self.state = Workspace(tsr_lzw_encoder_size(&dialect.c))
        tsr_lzw_encoder_init(<tsr_lzw_encoder *>self.state.at, &dialect.c)

    def encode(self, data, bint finish):
        """Encode on; returns the codes, where in the data this ended, and the status, negative for an error."""
        cdef size_t bound = tsr_lzw_encode_bound(&self.dialect.c, <size_t>buffer_size(data))
        return lzw_run(ENCODE_END if finish else ENCODE, self.state.at, data, 0, <Py_ssize_t>bound, SIZE_MAX // 4)
