# Huffman codes for alphabets of up to 2**24 symbols. Symbols are numbers of 1, 2 or 4 bytes.

CODE_MAX_LENGTH = TSR_CODE_MAX_LENGTH
CODE_SYMBOLS_MAX = TSR_CODE_SYMBOLS_MAX


def histogram16(const uint16_t[::1] data not None, uint64_t[::1] counts not None):
    """Count each 16-bit value; `counts` has 65536 entries."""
    cdef Workspace workspace = Workspace(tsr_code_histogram_workspace_size())
    cdef size_t n = <size_t>data.shape[0]
    cdef const uint8_t *src = <const uint8_t *>&data[0] if n else NULL
    if counts.shape[0] != 65536:
        raise ValueError("65536 counts are needed")
    with nogil:
        tsr_code_histogram16(&counts[0], src, n, workspace.at)


def sorted_code_lengths(const uint64_t[::1] weights not None, uint8_t[::1] lengths not None, int max_length):
    """Optimal code lengths for two or more ascending weights above zero that add up to at most 2**56."""
    cdef size_t n = <size_t>weights.shape[0], i
    cdef uint64_t total = 0
    if not 2 <= n <= TSR_CODE_SYMBOLS_MAX or <size_t>lengths.shape[0] != n:
        raise ValueError("two symbols to 2**24 are needed, and a length for each")
    for i in range(n):
        if weights[i] < (weights[i - 1] if i else 1) or weights[i] > (<uint64_t>1 << 56) - total:
            raise ValueError("weights must ascend from above zero, and add up to at most 2**56")
        total += weights[i]
    if max_length < 1 or (max_length < 24 and n > <size_t>1 << max_length):
        raise ValueError(f"{max_length} bits cannot tell {n} symbols apart")
    cdef Workspace workspace = Workspace(tsr_code_lengths_workspace_size(n, max_length))
    with nogil:
        tsr_code_lengths(&lengths[0], &weights[0], n, max_length, workspace.at)


def write_code_table(const uint8_t[::1] lengths not None):
    """Write down the code length of every value of an alphabet, 0 for those without a code."""
    cdef size_t n = <size_t>lengths.shape[0], size
    out = bytearray(tsr_code_table_bound(n))
    cdef uint8_t[::1] view = out
    if not 1 <= n <= TSR_CODE_SYMBOLS_MAX:
        raise ValueError("an alphabet has 1 value to 2**24")
    with nogil:
        size = tsr_code_table_write(&view[0], &lengths[0], n)
    return bytes(memoryview(out)[:size])


def read_code_table(const uint8_t[::1] data not None, uint8_t[::1] lengths not None):
    """Read what `write_code_table` wrote into the lengths of the whole alphabet."""
    cdef size_t n = <size_t>lengths.shape[0], size = <size_t>data.shape[0]
    cdef const uint8_t *src = &data[0] if size else NULL
    cdef int rc
    if not 1 <= n <= TSR_CODE_SYMBOLS_MAX:
        raise ValueError("an alphabet has 1 value to 2**24")
    with nogil:
        rc = tsr_code_table_read(&lengths[0], n, src, size)
    check(rc, NOWHERE)


cdef int _check_symbols(const uint8_t[::1] symbols, int width) except -1:
    if width not in (1, 2, 4) or symbols.shape[0] % width:
        raise ValueError("symbols have 1, 2 or 4 bytes each")


def encode_symbols(const uint64_t[::1] words not None, const uint8_t[::1] symbols not None, int width):
    """Encode the bytes of an array of symbols as `HuffmanCode.encode` describes.

    Parameters
    ----------
    words : buffer of uint64
        ``code << 6 | length`` for every number that a symbol may be, 0 where it has no code.
    symbols : buffer of bytes
    width : {1, 2, 4}
        Bytes of a symbol.

    Returns
    -------
    bytes or int
        Or the index of the first symbol that has no code.
    """
    _check_symbols(symbols, width)
    cdef size_t n = <size_t>(symbols.shape[0] // width), n_known
    cdef const uint8_t *src = &symbols[0] if n else NULL
    cdef uint64_t n_bits[TSR_CODE_STRINGS]
    _check_words(words, width)
    with nogil:
        n_known = tsr_code_measure(n_bits, &words[0], src, n, width)
    if n_known < n:
        return n_known
    cdef size_t size = tsr_code_encoded_size(n_bits, n)
    out = OutputBytes(size + TSR_CODE_SLACK)
    cdef uint8_t[::1] dst = out
    with nogil:
        tsr_code_encode(&dst[0], n_bits, &words[0], src, n, width)
    dst = None
    return out.finish(size)


def encode_symbol_bits(const uint64_t[::1] words not None, const uint8_t[::1] symbols not None, int width):
    """Encode symbols as one plain bit string: its bytes and its number of bits, or as above an index."""
    _check_symbols(symbols, width)
    cdef size_t n = <size_t>(symbols.shape[0] // width), n_known
    cdef const uint8_t *src = &symbols[0] if n else NULL
    cdef uint64_t n_bits[TSR_CODE_STRINGS]
    cdef uint64_t total = 0
    _check_words(words, width)
    with nogil:
        n_known = tsr_code_measure(n_bits, &words[0], src, n, width)
    if n_known < n:
        return n_known
    for string in range(TSR_CODE_STRINGS):
        total += n_bits[string]
    cdef size_t size = <size_t>((total + 7) // 8)
    out = OutputBytes(size + TSR_CODE_SLACK)
    cdef uint8_t[::1] dst = out
    with nogil:
        tsr_code_encode_bits(&dst[0], &words[0], src, n, width)
    dst = None
    return out.finish(size), total


cdef int _check_words(const uint64_t[::1] words, int width) except -1:
    if words.shape[0] < (1 << (8 * width) if width < 4 else 1):
        raise ValueError("words must cover every number that symbols can be")


cdef class CodeDecoder:
    """The tables that decode one code; any number of threads may use them.

    Parameters
    ----------
    n_of_length : buffer of uint32
        The number of symbols with codes of 0, 1, ... `CODE_MAX_LENGTH` bits.
    symbols : buffer of uint32
        All symbols, in canonical order.
    """
    cdef Workspace tables

    def __cinit__(self, const uint32_t[::1] n_of_length not None, const uint32_t[::1] symbols not None):
        cdef size_t n = <size_t>symbols.shape[0]
        cdef int rc
        if n_of_length.shape[0] != TSR_CODE_MAX_LENGTH + 1 or not 1 <= n <= TSR_CODE_SYMBOLS_MAX:
            raise ValueError("57 counts and 1 symbol to 2**24 are needed")
        self.tables = Workspace(tsr_code_decoder_size(n))
        cdef void *tables = self.tables.at
        with nogil:
            rc = tsr_code_decoder_init(tables, &n_of_length[0], &symbols[0], n)
        check(rc, NOWHERE)

    def count(self, const uint8_t[::1] data not None):
        """Read how many symbols there are in what `encode_symbols` made; at most 8 for each byte."""
        cdef uint64_t n
        cdef size_t n_read, size = <size_t>data.shape[0]
        check(tsr_code_decode_count(self.tables.at, &data[0] if size else NULL, size, &n, &n_read), NOWHERE)
        return n

    def decode_into(self, const uint8_t[::1] data not None, uint8_t[::1] out not None, int width):
        """Decode what `encode_symbols` made; `out` has room for exactly its symbols."""
        _check_symbols(out, width)
        cdef size_t n = <size_t>(out.shape[0] // width), size = <size_t>data.shape[0]
        cdef const uint8_t *src = &data[0] if size else NULL
        cdef uint8_t *dst = &out[0] if n else NULL
        cdef void *tables = self.tables.at
        cdef int rc
        with nogil:
            rc = tsr_code_decode(tables, dst, n, width, src, size)
        check(rc, NOWHERE)

    def decode_bits_into(self, const uint8_t[::1] data not None, uint64_t n_bits, uint8_t[::1] out not None,
                         int width):
        """Decode a plain bit string until `out` is full or the bits are used up.

        Returns
        -------
        n_symbols, n_used : int
            Symbols that were decoded, and bits that this took.
        """
        _check_symbols(out, width)
        cdef size_t n_max = <size_t>(out.shape[0] // width), size = <size_t>data.shape[0], n
        cdef uint64_t n_used
        cdef const uint8_t *src = &data[0] if size else NULL
        cdef uint8_t *dst = &out[0] if n_max else NULL
        cdef void *tables = self.tables.at
        cdef int rc
        if n_bits > 8 * <uint64_t>size:
            raise ValueError(f"{size} bytes have no {n_bits} bits")
        with nogil:
            rc = tsr_code_decode_bits(tables, dst, n_max, width, src, size, n_bits, &n, &n_used)
        check(rc, NOWHERE)
        return n, n_used
