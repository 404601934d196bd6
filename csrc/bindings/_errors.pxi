# The one place that turns a result of the C core into an exception.

# The place of a fault, where there is no block that it is in.
cdef size_t NOWHERE = <size_t>-1


cdef int check(int rc, size_t fault, str within=" of a block's payload") except -1:
    if rc == TSR_OK:
        return 0
    raise result_error(rc, fault, within)


def result_error(int rc, size_t fault, str within=" of a block's payload"):
    """Make the exception for a result code of the C core.

    Parameters
    ----------
    rc : int
        A `tsr_result` other than `TSR_OK`.
    fault : int
        Offset in bytes of the fault in what was coded.
    within : str
        What that is, as the end of the message.

    Returns
    -------
    Exception
    """
    text = tsr_result_text(rc).decode("ascii")
    if rc == TSR_ERR_DST_TOO_SMALL:
        return BufferError(text)
    message = text if fault == NOWHERE else f"{text} (at byte {fault}{within})"
    if rc == TSR_ERR_LZW_SYMBOL:
        return ValueError(message)
    if rc == TSR_ERR_SHAPE or rc == TSR_ERR_MODE:
        return UnsupportedFormatError(message)
    return CorruptDataError(message)


def result_codes():
    """Every result code of the C core but `TSR_OK`, for tests."""
    return list(range(-1, TSR_RESULT_LAST - 1, -1))
