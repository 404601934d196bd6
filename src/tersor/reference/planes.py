"""Byte planes: elements passed through a filter and taken apart (docs/format.md, "Byte planes")."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DELTA", "NONE", "ROTATE_MAX", "SPARSE", "TYPE_SIZES", "check_shape", "join", "split"]

TYPE_SIZES = (1, 2, 4, 8)

# Filters. The numbers 1 to ROTATE_MAX are rotations by so many bits.
NONE = 0
ROTATE_MAX = 4
DELTA = 5

# Added to a filter where elements that are zero are left out.
SPARSE = 8


def check_shape(typesize: int, filter: int) -> None:
    """Raise `ValueError` for a type size and filter that the format does not have together."""
    if typesize not in TYPE_SIZES:
        raise ValueError(f"the type size must be 1, 2, 4 or 8, not {typesize}")
    if not NONE <= filter & ~SPARSE <= DELTA:
        raise ValueError(f"there are filters 0 to {DELTA}, but none {filter}")
    if typesize == 1 and filter != NONE:
        raise ValueError(f"filter {filter} needs elements of two bytes or more")


def split(content: bytes, typesize: int, filter: int) -> tuple[list[bytes], bytes]:
    """Take elements apart into planes of bytes that are alike.

    The high bytes of numbers in one array are often nearly the same while the low ones look random.
    Plane p collects byte p of every element, least significant first, so that each kind gets a code
    of its own.

    Parameters
    ----------
    content : bytes
        Little-endian elements; what is left after the last whole one is returned as it is.
    typesize : {1, 2, 4, 8}
        Size of an element in bytes.
    filter : int
        0 for none, 1 to 4 to rotate left by so many bits, 5 for zigzag differences; 0 when
        `typesize` is 1.

    Returns
    -------
    planes : list of bytes
        `typesize` planes, each with one byte for every element.
    rest : bytes
        The last ``len(content) % typesize`` bytes.

    Raises
    ------
    ValueError
        If `typesize` or `filter` is unknown.

    Notes
    -----
    docs/format.md, "Byte planes (kind 1)".

    Examples
    --------
    >>> split(bytes([1, 0, 2, 0, 3, 0, 99]), 2, NONE)
    ([b'\\x01\\x02\\x03', b'\\x00\\x00\\x00'], b'c')
    """
    check_shape(typesize, filter)
    n_whole = len(content) - len(content) % typesize
    filtered = content[:n_whole]
    if filter != NONE:
        elements = _elements(filtered, typesize)
        n_bits = 8 * typesize
        if filter == DELTA:
            elements = _delta(elements, n_bits)
        else:
            elements = [_rotate_left(element, filter, n_bits) for element in elements]
        filtered = _to_bytes(elements, typesize)
    return [filtered[p::typesize] for p in range(typesize)], content[n_whole:]


def join(planes: Sequence[bytes], rest: bytes, typesize: int, filter: int) -> bytes:
    """Put planes together again and undo the filter: the reverse of `split`.

    Parameters
    ----------
    planes : sequence of bytes
        `typesize` planes of one length.
    rest : bytes
        What follows the last element.
    typesize : {1, 2, 4, 8}
    filter : int

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        If `typesize` or `filter` is unknown, or if the planes do not fit together.

    Notes
    -----
    docs/format.md, "Byte planes (kind 1)".

    Examples
    --------
    >>> join([b"\\x01\\x02\\x03", b"\\x00\\x00\\x00"], b"c", 2, NONE)
    b'\\x01\\x00\\x02\\x00\\x03\\x00c'
    """
    check_shape(typesize, filter)
    if len(planes) != typesize or len({len(plane) for plane in planes}) != 1:
        raise ValueError(f"{typesize} planes of one length are needed")
    joined = bytearray(typesize * len(planes[0]))
    for p, plane in enumerate(planes):
        joined[p::typesize] = plane
    content = bytes(joined)
    if filter != NONE:
        elements = _elements(content, typesize)
        n_bits = 8 * typesize
        if filter == DELTA:
            elements = _undo_delta(elements, n_bits)
        else:
            # The rest of a full turn brings every bit back to its place.
            elements = [_rotate_left(element, n_bits - filter, n_bits) for element in elements]
        content = _to_bytes(elements, typesize)
    return content + rest


def _elements(content: bytes, typesize: int) -> list[int]:
    return [int.from_bytes(content[at : at + typesize], "little") for at in range(0, len(content), typesize)]


def _to_bytes(elements: list[int], typesize: int) -> bytes:
    return b"".join(element.to_bytes(typesize, "little") for element in elements)


def _rotate_left(element: int, distance: int, n_bits: int) -> int:
    """Move bits up by `distance`; those that fall off the top come back at the bottom."""
    moved = element << distance
    return (moved | moved >> n_bits) & ((1 << n_bits) - 1)


def _delta(elements: list[int], n_bits: int) -> list[int]:
    """Differences, folded so that small ones of either sign become small numbers (zigzag)."""
    modulus = 1 << n_bits
    folded = []
    previous = 0
    for element in elements:
        difference = (element - previous) % modulus
        if difference < modulus // 2:
            folded.append(2 * difference)
        else:  # as a signed number it is difference - modulus, which is negative
            folded.append(-2 * (difference - modulus) - 1)
        previous = element
    return folded


def _undo_delta(folded: list[int], n_bits: int) -> list[int]:
    modulus = 1 << n_bits
    elements = []
    previous = 0
    for number in folded:
        half, is_negative = divmod(number, 2)
        difference = -half - 1 if is_negative else half
        previous = (previous + difference) % modulus
        elements.append(previous)
    return elements
