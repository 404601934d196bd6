# Affine quantization. Floats are passed as their bytes and a number for their type.

FLOAT32 = TSR_FLOAT32
FLOAT16 = TSR_FLOAT16
BFLOAT16 = TSR_BFLOAT16
FLOAT64 = TSR_FLOAT64
AFFINE_PACKED_BITS = TSR_AFFINE_PACKED_BITS


cdef int _check_channels(tsr_channels *channels, size_t n_bytes, int type, size_t n_channels, size_t n_inner) except -1:
    """Fill in `channels`, of floats that are not none."""
    if not TSR_FLOAT32 <= type <= TSR_FLOAT64:
        raise ValueError("unknown type of floats")
    cdef size_t size = tsr_float_size(type)
    channels.n, channels.n_channels, channels.n_inner = n_bytes // size, n_channels, n_inner
    if n_bytes == 0 or n_bytes % size or n_channels == 0 or n_inner == 0:
        raise ValueError("elements, and channels of at least one, are needed")
    # Neither of the divisors exceeds the dividend, so that their product is none too large.
    if n_inner > channels.n or channels.n % n_inner or channels.n // n_inner % n_channels:
        raise ValueError("the channels do not divide the elements")
    return 0


cdef int _check_parameters(size_t n_channels, const float[::1] scale, const uint8_t[::1] zero, int bits) except -1:
    if <size_t>scale.shape[0] != n_channels or (zero is not None and <size_t>zero.shape[0] != n_channels):
        raise ValueError("each channel needs a scale and a zero point")
    if not 2 <= bits <= 8:
        raise ValueError("bits must be from 2 to 8")


cdef int _check_integers(size_t n_integers, size_t n, size_t n_row, int bits) except -1:
    if n_row == 0 or n % n_row:
        raise ValueError("the rows do not divide the elements")
    if n_integers != (n if bits > TSR_AFFINE_PACKED_BITS else n // n_row * (n_row // 2 + n_row % 2)):
        raise ValueError("the integers do not fit the elements")


def float_range(const uint8_t[::1] data not None, int type, size_t n_channels, size_t n_inner,
                float[::1] low not None, float[::1] high not None):
    """Find each channel's least and greatest finite element.

    Returns
    -------
    int
        The index of the first element that is not finite, or the number of elements.
    """
    cdef tsr_channels channels
    cdef size_t first
    _check_channels(&channels, <size_t>data.shape[0], type, n_channels, n_inner)
    if <size_t>low.shape[0] != n_channels or <size_t>high.shape[0] != n_channels:
        raise ValueError("each channel needs a range")
    with nogil:
        first = tsr_float_range(&low[0], &high[0], &data[0], type, &channels)
    return first


def float_histogram(const uint8_t[::1] data not None, int type, size_t n_channels, size_t n_inner,
                    const double[::1] limits not None, uint64_t[:, ::1] counts not None):
    """Count each channel's finite elements in equal bins from minus its limit, a power of two, to its limit."""
    cdef tsr_channels channels
    cdef size_t n_bins = <size_t>counts.shape[1]
    _check_channels(&channels, <size_t>data.shape[0], type, n_channels, n_inner)
    if <size_t>counts.shape[0] != n_channels or <size_t>limits.shape[0] != n_channels or not n_bins or n_bins % 2:
        raise ValueError("each channel needs a limit and an even number of bins")
    with nogil:
        tsr_float_histogram(&counts[0, 0], n_bins, &limits[0], &data[0], type, &channels)


def affine_parameters(const float[::1] low not None, const float[::1] high not None, float[::1] scale not None,
                      uint8_t[::1] zero, int bits):
    """Make scales, and zero points unless `zero` is None, of ranges."""
    cdef size_t n = <size_t>low.shape[0]
    _check_parameters(n, scale, zero, bits)
    if <size_t>high.shape[0] != n:
        raise ValueError("each channel needs a range")
    cdef uint8_t *zero_points = NULL
    if n:
        if zero is not None:
            zero_points = &zero[0]
        with nogil:
            tsr_affine_parameters(&scale[0], zero_points, &low[0], &high[0], n, bits)


def affine_quantize(const uint8_t[::1] data not None, int type, size_t n_channels, size_t n_inner,
                    const float[::1] scale not None, const uint8_t[::1] zero, int bits,
                    uint8_t[::1] out not None, size_t n_row):
    """Quantize; for up to `AFFINE_PACKED_BITS` two integers a byte, in rows of `n_row` elements.

    Returns
    -------
    int
        The index of the first element that is not finite, or the number of elements.
    """
    cdef tsr_channels channels
    cdef size_t first
    _check_channels(&channels, <size_t>data.shape[0], type, n_channels, n_inner)
    _check_parameters(n_channels, scale, zero, bits)
    _check_integers(<size_t>out.shape[0], channels.n, n_row, bits)
    cdef const uint8_t *zero_points = NULL
    if zero is not None:
        zero_points = &zero[0]
    with nogil:
        first = tsr_affine_quantize(&out[0], &data[0], type, &channels, &scale[0], zero_points, bits, n_row)
    return first


def affine_dequantize(const uint8_t[::1] data not None, size_t n_channels, size_t n_inner,
                      const float[::1] scale not None, const uint8_t[::1] zero, int bits, size_t n_row,
                      uint8_t[::1] out not None, int type):
    """Fill `out` with the floats that `affine_quantize` made integers of."""
    cdef tsr_channels channels
    _check_channels(&channels, <size_t>out.shape[0], type, n_channels, n_inner)
    _check_parameters(n_channels, scale, zero, bits)
    _check_integers(<size_t>data.shape[0], channels.n, n_row, bits)
    cdef const uint8_t *zero_points = NULL
    if zero is not None:
        zero_points = &zero[0]
    with nogil:
        tsr_affine_dequantize(&out[0], type, &data[0], &channels, &scale[0], zero_points, bits, n_row)


def affine_error(const uint8_t[::1] data not None, int type, size_t n_channels, size_t n_inner,
                 const float[::1] scale not None, const uint8_t[::1] zero, int bits, double[::1] error not None):
    """Add up the squared errors that quantizing would make in each channel, and add them to `error`."""
    cdef tsr_channels channels
    _check_channels(&channels, <size_t>data.shape[0], type, n_channels, n_inner)
    _check_parameters(n_channels, scale, zero, bits)
    if <size_t>error.shape[0] != n_channels:
        raise ValueError("each channel needs an error")
    cdef const uint8_t *zero_points = NULL
    if zero is not None:
        zero_points = &zero[0]
    with nogil:
        tsr_affine_error(&error[0], &data[0], type, &channels, &scale[0], zero_points, bits)


def pack_nibbles(const uint8_t[::1] data not None, uint8_t[::1] out not None, size_t n_row):
    """Put the low halves of bytes two into a byte, each row of `n_row` elements from a byte of its own."""
    cdef size_t n = <size_t>data.shape[0]
    _check_integers(<size_t>out.shape[0], n, n_row, TSR_AFFINE_PACKED_BITS)
    if n:
        with nogil:
            tsr_nibbles_pack(&out[0], &data[0], n, n_row)


def unpack_nibbles(const uint8_t[::1] data not None, uint8_t[::1] out not None, size_t n_row):
    """Undo `pack_nibbles`."""
    cdef size_t n = <size_t>out.shape[0]
    _check_integers(<size_t>data.shape[0], n, n_row, TSR_AFFINE_PACKED_BITS)
    if n:
        with nogil:
            tsr_nibbles_unpack(&out[0], &data[0], n, n_row)
