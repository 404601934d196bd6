"""Canonical Huffman codes over any alphabet."""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, pairwise
from math import lcm
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from . import _native, huffman_draw
from .atomic import atomic_output
from .errors import CorruptDataError, UnsupportedFormatError
from .reference import code as reference

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["HuffmanCode"]

# What decode() returns. Those of integers are coded by value, the others by rank in canonical order.
INTEGER_KINDS = ("bytes", "uint8", "int8", "uint16", "int16")
KINDS = ("list", "str", *INTEGER_KINDS)

# First byte of a stored code: its number here, from 1, or 0 for JSON.
_JSON = 0
# Native code lengths take weights that add up to this at most.
_WEIGHT_MAX = 1 << 56
_UNLIMITED = 96  # no code for such weights has so many bits
# A piece whose bytes can be counted in 32 bits.
_PIECE = 1 << 31

_MISSING: Any = object()


class HuffmanCode:
    """A canonical Huffman code.

    Made by `from_data`, `from_frequencies` or `from_lengths`, or from the two lists that describe any
    canonical code.

    Parameters
    ----------
    counts : sequence of int
        ``counts[l]`` symbols have codes of l bits. The code must be complete, but for that of a single
        symbol, which has one bit: 0.
    symbols : iterable of hashable
        All symbols, each once, in canonical order: shorter codes first, and codes count upwards.
    kind : {"list", "str", "bytes", "uint8", "int8", "uint16", "int16"}
        What `decode` returns: a list, text, bytes, or an array of that dtype.

    Attributes
    ----------
    counts : tuple of int
    symbols : tuple
    kind : str

    Raises
    ------
    ValueError
        If this is no complete code, or the symbols do not suit the kind.

    Notes
    -----
    See docs/huffman.md for how codes are made and what encoded data look like.

    Examples
    --------
    >>> code = tersor.huffman.HuffmanCode.from_data("abracadabra")
    >>> code.codes
    {'a': '0', 'b': '100', 'c': '101', 'd': '110', 'r': '111'}
    >>> data = code.encode("abracadabra")
    >>> data.hex(" "), code.decode(data)
    ('0b 4e ac 9c', 'abracadabra')
    """

    counts: tuple[int, ...]
    symbols: tuple[Hashable, ...]
    kind: str

    def __init__(self, counts: Sequence[int], symbols: Iterable[Hashable], *, kind: str = "list") -> None:
        self.counts = _trimmed(counts)
        self.symbols = tuple(s.item() if isinstance(s, np.generic) else s for s in symbols)
        self.kind = _known_kind(kind)
        if len(self._ranks) != len(self.symbols):
            twice = next(s for s, n in Counter(self.symbols).items() if n > 1)
            raise ValueError(f"symbol {twice!r} is there more than once")
        _check_complete(self.counts, len(self.symbols))
        self._check_kind(kind)
        self._words: dict[str, NDArray[np.uint64]] = {}
        self._decoders: dict[str, _native.CodeDecoder] = {}

    # ---- Making codes -------------------------------------------------------------------------------

    @classmethod
    def from_data(cls, symbols: Any, *, max_length: int | None = None) -> HuffmanCode:
        """Make the best code for some data.

        Parameters
        ----------
        symbols : str, bytes-like, array or iterable of hashable
            The data, or enough of them to have every symbol.
        max_length : int, optional
            Longest code allowed, in bits.

        Returns
        -------
        HuffmanCode
            It decodes to what `symbols` is: text, bytes, an array of the same integers of 8 or 16 bits,
            or a list.

        Raises
        ------
        ValueError
            If there is no symbol, or `max_length` bits cannot tell so many apart.

        Examples
        --------
        >>> residuals = np.array([0, -1, 0, 300, 0, 1, -1, 0], np.int16)
        >>> code = HuffmanCode.from_data(residuals, max_length=2)
        >>> code.lengths
        {-1: 2, 0: 2, 1: 2, 300: 2}
        """
        array = _as_array(symbols)
        if array is not None and array.dtype.name in INTEGER_KINDS:
            values, counts = _count_integers(array)
            kind = "bytes" if _is_bytes(symbols) else array.dtype.name
            return cls._optimal(values.tolist(), counts, max_length, kind)
        if array is not None:
            symbols = array.ravel().tolist()
        kind = "str" if isinstance(symbols, str) else "list"
        return cls.from_frequencies(Counter(symbols), max_length=max_length, kind=kind)

    @classmethod
    def from_frequencies(
        cls, frequencies: Mapping[Any, Any], *, max_length: int | None = None, kind: str = "list"
    ) -> HuffmanCode:
        """Make the best code for symbols of known frequency.

        Parameters
        ----------
        frequencies : mapping of hashable to number
            Counts, or relative frequencies: integers of any size, floats or fractions, taken exactly. A
            symbol of frequency zero gets no code.
        max_length : int, optional
            Longest code allowed, in bits.
        kind : str
            As for the class.

        Returns
        -------
        HuffmanCode
            One with the least expected length that there is under the limit. Codes of equal length are
            in the order of the symbols, or of the mapping where symbols cannot be compared.

        Raises
        ------
        ValueError
            If no symbol occurs, a frequency is negative or not finite, or `max_length` bits cannot tell so
            many symbols apart.

        Examples
        --------
        >>> HuffmanCode.from_frequencies({"rain": 0.5, "sun": 0.25, "snow": 0.25}).lengths
        {'rain': 1, 'snow': 2, 'sun': 2}
        """
        weights = _exact_weights(frequencies)
        try:
            symbols = sorted(weights)
        except TypeError:
            symbols = list(weights)
        return cls._optimal(symbols, [weights[s] for s in symbols], max_length, kind)

    @classmethod
    def from_lengths(cls, lengths: Mapping[Any, int], *, kind: str = "list") -> HuffmanCode:
        """Make the canonical code in which symbols have these lengths.

        Raises
        ------
        ValueError
            If the lengths are incomplete or over-subscribed, or one is not positive.

        Examples
        --------
        >>> HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2}).codes
        {'y': '0', 'x': '10', 'z': '11'}
        """
        try:
            symbols = sorted(lengths)
        except TypeError:
            symbols = list(lengths)
        for symbol in symbols:
            if operator.index(lengths[symbol]) < 1:
                raise ValueError(f"symbol {symbol!r} has the length {lengths[symbol]}; 1 is the least")
        return cls._of_lengths(symbols, [operator.index(lengths[s]) for s in symbols], kind)

    @classmethod
    def _optimal(
        cls, symbols: list[Any], weights: Sequence[int] | NDArray[Any], max_length: int | None, kind: str
    ) -> HuffmanCode:
        return cls._of_lengths(symbols, _optimal_lengths(weights, max_length), kind)

    @classmethod
    def _of_lengths(cls, symbols: list[Any], lengths: Sequence[int], kind: str) -> HuffmanCode:
        """The canonical code; codes of equal length are in the order of `symbols`."""
        if not symbols:
            raise ValueError("a code needs at least one symbol")
        longest = max(lengths)
        if longest >= max(len(symbols), 2):
            # Before a list is made whose size is the length.
            raise ValueError(f"the lengths are incomplete: {len(symbols)} symbols need no {longest} bits")
        counts = np.bincount(lengths, minlength=longest + 1).tolist()
        ranks = np.argsort(lengths, kind="stable").tolist()
        return cls(counts, [symbols[r] for r in ranks], kind=kind)

    # ---- The code -----------------------------------------------------------------------------------

    @cached_property
    def lengths(self) -> dict[Any, int]:
        """Length of each symbol's code in bits, in canonical order."""
        return dict(zip(self.symbols, self._rank_lengths.tolist(), strict=True))

    @cached_property
    def codes(self) -> dict[Any, str]:
        """Each symbol's code as a string of "0" and "1", in canonical order."""
        lengths = self._rank_lengths.tolist()
        return {
            symbol: f"{code:0{length}b}"
            for symbol, length, code in zip(
                self.symbols, lengths, reference.canonical_codes(lengths), strict=True
            )
        }

    @property
    def max_length(self) -> int:
        """Length of the longest code in bits."""
        return len(self.counts) - 1

    def expected_length(self, frequencies: Mapping[Any, Any]) -> float:
        """Average length of a code in bits, when symbols come with these frequencies.

        Raises
        ------
        ValueError
            If a symbol that occurs has no code, or none occurs.

        Examples
        --------
        >>> code = HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2})
        >>> code.expected_length({"x": 1, "y": 2, "z": 1})
        1.5
        """
        weights = _exact_weights(frequencies)
        for symbol in weights:
            if symbol not in self._ranks:
                raise ValueError(f"symbol {symbol!r} has no code")
        if not weights:
            raise ValueError("no symbol occurs")
        return sum(w * self.lengths[s] for s, w in weights.items()) / sum(weights.values())

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ranks

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HuffmanCode):
            return NotImplemented
        return (self.counts, self.symbols, self.kind) == (other.counts, other.symbols, other.kind)

    def __hash__(self) -> int:
        return hash((self.counts, self.symbols, self.kind))

    def __repr__(self) -> str:
        shortest = next(length for length, n in enumerate(self.counts) if n)
        n = len(self.symbols)
        return f"<HuffmanCode of {n} symbols, {shortest} to {self.max_length} bits, kind {self.kind!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.counts, self.symbols, self.kind)

    # ---- Coding -------------------------------------------------------------------------------------

    def encode(self, symbols: Any) -> bytes:
        """Encode symbols.

        Parameters
        ----------
        symbols : str, bytes-like, array or iterable of hashable
            Arrays of integers of 8 and 16 bits, bytes and text are encoded at C speed; arrays are taken in
            C order, and a copy is made of one that is not contiguous.

        Returns
        -------
        bytes
            The number of symbols, then their codes: see docs/huffman.md.

        Raises
        ------
        ValueError
            If a symbol has no code; the message names it and its index.

        Examples
        --------
        >>> HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2}).encode(["x", "y", "?"])
        Traceback (most recent call last):
            ...
        ValueError: symbol '?' at index 2 has no code
        """
        return cast(bytes, self._encode(symbols, _native.encode_symbols, reference.encode))

    def encode_bits(self, symbols: Any) -> tuple[bytes, int]:
        """Encode symbols as a plain bit string, as other Huffman coders write it.

        Returns
        -------
        data : bytes
            The codes, most significant bit first, with zero bits up to a whole byte.
        n_bits : int
            Bits of the codes.

        Examples
        --------
        >>> HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2}).encode_bits("xyz")
        (b'\\x98', 5)
        """
        result = self._encode(symbols, _native.encode_symbol_bits, reference.encode_bits)
        return cast("tuple[bytes, int]", result)

    def decode(self, data: Buffer, count: int | None = None, *, kind: str | None = None) -> Any:
        """Decode what `encode` returned.

        Parameters
        ----------
        data : bytes-like
        count : int, optional
            Number of symbols to insist on. The data tell it themselves, and never claim more than eight
            for each of their bytes; with it, nothing is decoded that has another.
        kind : str, optional
            What to return, if not what the code's own `kind` says.

        Returns
        -------
        list, str, bytes or ndarray
            As `kind` says.

        Raises
        ------
        CorruptDataError
            If the data are damaged, cut short, or followed by anything.
        """
        kind = self._check_kind(self.kind if kind is None else _known_kind(kind))
        view = _native.byte_view(data)
        if self.max_length > _native.CODE_MAX_LENGTH:
            ranks = reference.decode(bytes(view), self._rank_lengths.tolist(), count)
            return self._result(np.array(ranks, self._rank_dtype), kind, by_rank=True)
        decoder = self._decoder(kind)
        n = decoder.count(view)
        if count is not None and count != n:
            raise CorruptDataError(f"the data hold {n} symbols, not {count}")
        if kind == "bytes":
            output = _native.OutputBytes(n)
            decoder.decode_into(view, output, 1)
            return output.finish()
        out: NDArray[Any] = np.empty(n, kind if kind in INTEGER_KINDS else self._rank_dtype)
        decoder.decode_into(view, out.view(np.uint8), out.itemsize)
        return self._result(out, kind)

    def decode_bits(
        self,
        data: Buffer,
        *,
        count: int | None = None,
        n_bits: int | None = None,
        end: Hashable = _MISSING,
        kind: str | None = None,
    ) -> Any:
        """Decode a plain bit string, most significant bit first.

        A plain string does not tell where it ends, so exactly one of the three must.

        Parameters
        ----------
        data : bytes-like
        count : int, optional
            Number of symbols; less than a byte may follow, of zero bits.
        n_bits : int, optional
            Number of bits, which the bytes must be no longer than it takes.
        end : hashable, optional
            A symbol that stands for the end and nowhere else; it is not returned. Less than a byte may
            follow, of zero bits.
        kind : str, optional
            What to return, if not what the code's own `kind` says.

        Raises
        ------
        CorruptDataError
            If the string ends early or late, or inside a code.

        Examples
        --------
        >>> code = HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2})
        >>> code.decode_bits(b"\\x98", count=3), code.decode_bits(b"\\x98", n_bits=5)
        (['x', 'y', 'z'], ['x', 'y', 'z'])
        >>> code.decode_bits(b"\\x98", end="z")
        ['x', 'y']
        """
        if [count, n_bits].count(None) + (end is _MISSING) != 2:
            raise TypeError("give one of count, n_bits and end")
        kind = self._check_kind(self.kind if kind is None else _known_kind(kind))
        view = _native.byte_view(data)
        n_all = 8 * len(view)
        if count is not None:
            ranks, used = self._decode_bits(view, n_all, count)
            if len(ranks) < count:
                raise CorruptDataError(f"the bit stream ends after {len(ranks)} of {count} symbols")
            _check_padding(view, used)
            return self._result(ranks, kind, by_rank=True)
        if n_bits is not None:
            if not 0 <= n_bits <= n_all or n_all - n_bits >= 8:
                raise CorruptDataError(f"{n_bits} bits are not what {len(view)} bytes hold")
            return self._result(self._decode_bits(view, n_bits, n_bits)[0], kind, by_rank=True)
        return self._result(self._decode_to_end(view, end), kind, by_rank=True)

    def _decode_to_end(self, view: memoryview, end: Hashable) -> NDArray[Any]:
        """Find the padding with which `end` comes last, and only there."""
        if end not in self._ranks:
            raise ValueError(f"symbol {end!r} has no code")
        for n_bits in range(8 * len(view), max(8 * len(view) - 8, 0), -1):
            try:
                ranks, used = self._decode_bits(view, n_bits, n_bits)
            except CorruptDataError:
                continue
            ends = np.flatnonzero(ranks == self._ranks[end])
            if len(ends) and ends[0] == len(ranks) - 1:
                _check_padding(view, used)
                return ranks[:-1]
        raise CorruptDataError(f"the bit stream does not end with {end!r}")

    def _decode_bits(self, view: memoryview, n_bits: int, n_max: int) -> tuple[NDArray[Any], int]:
        """Ranks of at most so many symbols from so many bits, and how many bits they took."""
        if n_max < 0:
            raise ValueError(f"count must not be negative, not {n_max}")
        shortest = next(length for length, n in enumerate(self.counts) if n)
        n_max = min(n_max, n_bits // shortest)
        if self.max_length > _native.CODE_MAX_LENGTH:
            lengths = self._rank_lengths.tolist()
            ranks, used = reference.decode_bits(bytes(view), lengths, n_bits=n_bits, n_max=n_max)
            return np.array(ranks, self._rank_dtype), used
        out = np.empty(n_max, self._rank_dtype)
        n, used = self._decoder("list").decode_bits_into(view, n_bits, out.view(np.uint8), out.itemsize)
        return out[:n], used

    def _encode(self, symbols: Any, native: Callable[..., Any], plain: Callable[..., Any]) -> Any:
        array = _as_array(symbols)
        too_long = self.max_length > _native.CODE_MAX_LENGTH
        if array is not None and (too_long or array.dtype.name not in INTEGER_KINDS):
            symbols = array.ravel().tolist()
            array = None
        if array is not None:
            words = self._integer_words(array.dtype.name)
        else:
            symbols, array = self._to_ranks(symbols)
            if too_long:
                return plain(array.tolist(), self._rank_lengths.tolist())
            words = self._rank_words
        flat = np.ascontiguousarray(array).reshape(-1)
        result = native(words, flat.view(np.uint8), flat.itemsize)
        if isinstance(result, int):
            raise _unknown(flat[result].item(), result)
        return result

    def _to_ranks(self, symbols: Any) -> tuple[Any, NDArray[Any]]:
        if isinstance(symbols, str) and self._text_ranks is not None:
            points = np.frombuffer(symbols.encode("utf-32-le", "surrogatepass"), np.uint32)
            ranks = self._text_ranks.take(points, mode="clip")
            unknown = np.flatnonzero(ranks == len(self.symbols))
            if len(unknown):
                raise _unknown(symbols[unknown[0]], int(unknown[0]))
            return symbols, ranks.astype(self._rank_dtype)
        symbols = list(symbols)
        try:
            return symbols, np.fromiter(map(self._ranks.__getitem__, symbols), self._rank_dtype, len(symbols))
        except KeyError:
            at = next(i for i, symbol in enumerate(symbols) if symbol not in self._ranks)
            raise _unknown(symbols[at], at) from None

    def _result(self, values: NDArray[Any], kind: str, *, by_rank: bool = False) -> Any:
        if kind in INTEGER_KINDS:
            if by_rank:
                values = self._values.astype(np.int64)[values].astype("uint8" if kind == "bytes" else kind)
            return values.tobytes() if kind == "bytes" else values
        if kind == "str" and self._points is not None:
            return self._points[values].tobytes().decode("utf-32-le", "surrogatepass")
        symbols = self._symbol_array[values].tolist()
        return "".join(symbols) if kind == "str" else symbols

    # ---- Tables, each made when it is first used ----------------------------------------------------

    @cached_property
    def _ranks(self) -> dict[Any, int]:
        return {symbol: rank for rank, symbol in enumerate(self.symbols)}

    @cached_property
    def _rank_lengths(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def _rank_dtype(self) -> type[np.unsignedinteger[Any]]:
        n = len(self.symbols)
        return np.uint8 if n <= 1 << 8 else np.uint16 if n <= 1 << 16 else np.uint32

    @cached_property
    def _rank_words(self) -> NDArray[np.uint64]:
        """``code << 6 | length`` by rank, as far as the dtype of ranks reaches."""
        lengths = self._rank_lengths.tolist()
        codes = reference.canonical_codes(lengths)
        room = 1 << 8 * np.dtype(self._rank_dtype).itemsize
        words = np.zeros(room if room <= 1 << 16 else len(lengths), np.uint64)
        words[: len(lengths)] = [code << 6 | length for code, length in zip(codes, lengths, strict=True)]
        return words

    @cached_property
    def _values(self) -> NDArray[np.int64]:
        """Symbols that are integers of 8 or 16 bits; what no such integer is lies outside them all."""
        known = (s if isinstance(s, int) and -(1 << 15) <= s < 1 << 16 else 1 << 20 for s in self.symbols)
        return np.fromiter(known, np.int64, len(self.symbols))

    @cached_property
    def _points(self) -> NDArray[np.uint32] | None:
        """Code points, where all symbols are characters."""
        if not all(isinstance(s, str) and len(s) == 1 for s in self.symbols):
            return None
        return np.fromiter((ord(cast(str, s)) for s in self.symbols), np.uint32, len(self.symbols))

    @cached_property
    def _text_ranks(self) -> NDArray[np.uint32] | None:
        """Rank of each code point; of those without a code, and one past the last, as many as there are."""
        if self._points is None:
            return None
        ranks = np.full(int(self._points.max()) + 2, len(self.symbols), np.uint32)
        ranks[self._points] = np.arange(len(self.symbols))
        return ranks

    @cached_property
    def _symbol_array(self) -> NDArray[Any]:
        return np.fromiter(self.symbols, np.dtype(object), len(self.symbols))

    def _integer_words(self, dtype: str) -> NDArray[np.uint64]:
        """``code << 6 | length`` for each value of a dtype, by its bits."""
        words = self._words.get(dtype)
        if words is None:
            info = np.iinfo(dtype)
            words = np.zeros(1 << info.bits, np.uint64)
            fits = (info.min <= self._values) & (self._values <= info.max)
            words[self._values[fits] & (1 << info.bits) - 1] = self._rank_words[: len(self)][fits]
            self._words[dtype] = words
        return words

    def _decoder(self, kind: str) -> _native.CodeDecoder:
        by = kind if kind in INTEGER_KINDS else "rank"
        decoder = self._decoders.get(by)
        if decoder is None:
            n_of_length = np.zeros(_native.CODE_MAX_LENGTH + 1, np.uint32)
            n_of_length[: len(self.counts)] = self.counts
            symbols = np.arange(len(self.symbols)) if by == "rank" else self._values & 0xFFFF
            decoder = _native.CodeDecoder(n_of_length, symbols.astype(np.uint32))
            self._decoders[by] = decoder
        return decoder

    def _check_kind(self, kind: str) -> str:
        """The kind, if all symbols suit it."""
        if kind in INTEGER_KINDS:
            info = np.iinfo("uint8" if kind == "bytes" else kind)
            fits = (info.min <= self._values) & (self._values <= info.max)
        elif kind == "str":
            fits = np.fromiter((isinstance(s, str) for s in self.symbols), np.bool_, len(self.symbols))
        else:
            return kind
        if not fits.all():
            raise ValueError(f"symbol {self.symbols[int(fits.argmin())]!r} does not suit kind {kind!r}")
        return kind

    # ---- Storing ------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Describe the code with what JSON can hold.

        Returns
        -------
        dict
            ``"kind"``, ``"counts"`` and ``"symbols"``, as the class takes them. Symbols may be strings,
            numbers, booleans and None; tuples of such, which become lists; and bytes, which become
            ``{"bytes": hexadecimal digits}``.

        Raises
        ------
        TypeError
            If a symbol is of another type.

        Examples
        --------
        >>> HuffmanCode.from_lengths({"x": 2, (1, 2): 1, b"z": 2}).to_dict()
        {'kind': 'list', 'counts': [0, 1, 2], 'symbols': [[1, 2], 'x', {'bytes': '7a'}]}
        """
        return {
            "kind": self.kind,
            "counts": list(self.counts),
            "symbols": [_to_json(s) for s in self.symbols],
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> HuffmanCode:
        """Make the code that `to_dict` described.

        Raises
        ------
        CorruptDataError
            If that is no code.
        """
        try:
            counts = [operator.index(n) for n in d["counts"]]
            return cls(counts, [_from_json(s) for s in d["symbols"]], kind=d["kind"])
        except KeyError as error:
            raise CorruptDataError(f"the description of a code lacks {error}") from None
        except (RecursionError, TypeError, ValueError) as error:
            raise CorruptDataError(f"not the description of a code: {error}") from None

    def to_bytes(self) -> bytes:
        """Write the code down.

        Returns
        -------
        bytes
            For integers a table of lengths, some two bits a symbol, else the JSON of `to_dict`; see
            docs/huffman.md.

        Examples
        --------
        >>> len(HuffmanCode.from_data(bytes(range(256))).to_bytes())
        36
        """
        if self.kind in INTEGER_KINDS and self._is_ordered and self.max_length <= _native.CODE_MAX_LENGTH:
            first, n_values = _alphabet(self.kind)
            lengths = np.zeros(n_values, np.uint8)
            lengths[self._values - first] = self._rank_lengths
            return bytes([1 + INTEGER_KINDS.index(self.kind)]) + _native.write_code_table(lengths)
        text = json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))
        return bytes([_JSON]) + text.encode("utf-8", "surrogatepass")

    @property
    def _is_ordered(self) -> bool:
        """Whether codes of equal length are in the order of their values, as a table has them."""
        ends = accumulate(self.counts)
        return all((np.diff(self._values[a:b]) > 0).all() for a, b in pairwise([0, *ends]))

    @classmethod
    def from_bytes(cls, data: Buffer) -> HuffmanCode:
        """Make the code that `to_bytes` wrote down.

        Raises
        ------
        CorruptDataError
            If the data are damaged, cut short, or followed by anything.
        UnsupportedFormatError
            If the first byte is not one of those that this release knows.
        """
        view = _native.byte_view(data)
        if not len(view):
            raise CorruptDataError("a stored code has at least one byte")
        if view[0] == _JSON:
            try:
                described = json.loads(bytes(view[1:]).decode("utf-8", "surrogatepass"))
            except (RecursionError, ValueError) as error:
                raise CorruptDataError(f"not the JSON of a code: {error}") from None
            if not isinstance(described, dict):
                raise CorruptDataError("not the description of a code")
            return cls.from_dict(described)
        if view[0] > len(INTEGER_KINDS):
            raise UnsupportedFormatError(f"no stored code begins with the byte {view[0]}")
        kind = INTEGER_KINDS[view[0] - 1]
        first, n_values = _alphabet(kind)
        lengths = np.zeros(n_values, np.uint8)
        _native.read_code_table(view[1:], lengths)
        present = np.flatnonzero(lengths)
        return cls._of_lengths((present + first).tolist(), lengths[present].tolist(), kind)

    def save(self, path: str | PathLike[str]) -> None:
        """Write `to_bytes` to a file, which appears when it is complete."""
        with atomic_output(path) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> HuffmanCode:
        """Read a file that `save` wrote; unlike a pickle it cannot run code."""
        return cls.from_bytes(Path(path).read_bytes())

    # ---- Looking at it ------------------------------------------------------------------------------

    def table(self) -> str:
        """Lay out the code as text, a line for each symbol.

        Examples
        --------
        >>> print(HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2}).table())
        Bits Code Symbol
           1 0    'y'
           2 10   'x'
           2 11   'z'
        """
        return huffman_draw.table(self.codes)

    def tree(self) -> str:
        """Draw the code as a tree of text.

        Examples
        --------
        >>> print(HuffmanCode.from_lengths({"x": 2, "y": 1, "z": 2}).tree())
        ┬─0─ 'y'
        └─1─┬─0─ 'x'
            └─1─ 'z'
        """
        return huffman_draw.tree(self.codes)

    def to_graphviz(self, frequencies: Mapping[Any, Any] | None = None) -> str:
        """Write the tree in Graphviz' language.

        Parameters
        ----------
        frequencies : mapping, optional
            What to show beside each symbol.

        Examples
        --------
        >>> HuffmanCode.from_data("aab").to_graphviz().splitlines()[0]
        'digraph huffman {'
        """
        return huffman_draw.graphviz(self.codes, frequencies)

    def draw(self, ax: Any = None, frequencies: Mapping[Any, Any] | None = None) -> Any:
        """Draw the tree with Matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where; new axes by default.
        frequencies : mapping, optional
            What to show beside each symbol.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If Matplotlib is not installed: ``pip install 'tersor[plot]'``.
        """
        return huffman_draw.draw(self.codes, ax, frequencies)


def _rebuild(counts: Sequence[int], symbols: Sequence[Hashable], kind: str) -> HuffmanCode:
    return HuffmanCode(counts, symbols, kind=kind)


# ---- Lengths ------------------------------------------------------------------------------------


def _exact_weights(frequencies: Mapping[Any, Any]) -> dict[Any, int]:
    """Integers in the proportion of the frequencies, without those of zero."""
    weights: dict[Any, Any] = {}
    for symbol, frequency in frequencies.items():
        try:
            weight = Fraction(frequency.item() if isinstance(frequency, np.generic) else frequency)
        except (OverflowError, TypeError, ValueError):
            raise ValueError(
                f"the frequency of {symbol!r} must be a finite number, not {frequency!r}"
            ) from None
        if weight < 0:
            raise ValueError(f"the frequency of {symbol!r} is negative: {frequency!r}")
        if weight:
            weights[symbol] = weight
    scale = lcm(*{w.denominator for w in weights.values()})
    return {s: w.numerator * (scale // w.denominator) for s, w in weights.items()}


def _optimal_lengths(weights: Sequence[int] | NDArray[Any], max_length: int | None) -> list[int]:
    """Lengths for weights above zero in any order."""
    n = len(weights)
    if n == 0:
        raise ValueError("a code needs at least one symbol")
    if max_length is not None and (max_length < 1 or n > 1 << min(max_length, 64)):
        raise ValueError(f"max_length={max_length} bits cannot tell {n} symbols apart")
    if n == 1:
        return [1]
    lengths: NDArray[Any]
    if isinstance(weights, np.ndarray) or sum(weights) <= _WEIGHT_MAX:
        array = np.asarray(weights, np.uint64)
        order = np.argsort(array, kind="stable")
        by_weight = np.zeros(n, np.uint8)
        limit = _UNLIMITED if max_length is None else min(max_length, _UNLIMITED)
        _native.sorted_code_lengths(array[order], by_weight, limit)
        lengths = np.empty(n, np.int64)
        lengths[order] = by_weight
        return cast("list[int]", lengths.tolist())
    ranked = sorted(range(n), key=weights.__getitem__)
    found = reference.code_lengths([weights[i] for i in ranked], max_length)
    by_symbol = dict(zip(ranked, found, strict=True))
    return [by_symbol[i] for i in range(n)]


def _trimmed(counts: Sequence[int]) -> tuple[int, ...]:
    values = [operator.index(n) for n in counts]
    if any(n < 0 for n in values):
        raise ValueError("counts must not be negative")
    while values and not values[-1]:
        values.pop()
    return tuple(values)


def _check_complete(counts: Sequence[int], n_symbols: int) -> None:
    if n_symbols == 0:
        raise ValueError("a code needs at least one symbol")
    if n_symbols > _native.CODE_SYMBOLS_MAX:
        raise ValueError(f"a code has at most {_native.CODE_SYMBOLS_MAX} symbols, not {n_symbols}")
    if sum(counts) != n_symbols:
        raise ValueError(f"the counts add up to {sum(counts)}, but there are {n_symbols} symbols")
    if counts[0]:
        raise ValueError("codes have at least one bit")
    if n_symbols == 1 and len(counts) == 2:
        return
    free = 1  # codes of this length that are not taken
    left = n_symbols
    for n in counts[1:]:
        free = 2 * free - n
        left -= n
        if free < 0:
            raise ValueError("the lengths are over-subscribed: they need more codes than there are")
        if free > left:
            # As soon as it is certain, so that no number here grows with the length.
            raise ValueError("the lengths are incomplete: some bit strings are no symbol's code")


# ---- Input and JSON -------------------------------------------------------------------------------


def _known_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    return kind


def _alphabet(kind: str) -> tuple[int, int]:
    """First value, and number of values."""
    info = np.iinfo("uint8" if kind == "bytes" else kind)
    return int(info.min), 1 << info.bits


def _is_bytes(symbols: Any) -> bool:
    return isinstance(symbols, bytes | bytearray | memoryview)


def _as_array(symbols: Any) -> NDArray[Any] | None:
    """An array in the machine's byte order of what is bytes, an array or a tensor already."""
    if isinstance(symbols, bytes | bytearray):
        return np.frombuffer(symbols, np.uint8)
    if isinstance(symbols, str | list | tuple | dict | set):
        return None
    if type(symbols).__module__.partition(".")[0] == "torch":
        from .arrays import as_numpy

        symbols = as_numpy(symbols)
    try:
        array = np.asarray(memoryview(symbols)) if not isinstance(symbols, np.ndarray) else symbols
    except TypeError:
        return None  # some other iterable
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _count_integers(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint64]]:
    """Values that occur, in order, and how often each does."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.itemsize == 2:
        counts = np.zeros(1 << 16, np.uint64)
        _native.histogram16(flat.view(np.uint16), counts)
    else:
        pieces = range(0, max(len(flat), 1), _PIECE)
        counts = np.zeros(1 << 8, np.uint64)
        for at in pieces:
            counts += np.array(_native.histogram(flat[at : at + _PIECE].view(np.uint8)), np.uint64)
    patterns = np.flatnonzero(counts)
    values = patterns.astype(f"u{flat.itemsize}").view(flat.dtype)
    order = np.argsort(values)
    return values[order], counts[patterns][order]


def _unknown(symbol: object, index: int) -> ValueError:
    return ValueError(f"symbol {symbol!r} at index {index} has no code")


def _check_padding(view: memoryview, n_used: int) -> None:
    if 8 * len(view) - n_used >= 8:
        raise CorruptDataError("bits are left over after the last symbol")
    if n_used % 8 and view[-1] & (1 << 8 - n_used % 8) - 1:
        raise CorruptDataError("padding bits are not zero")


def _to_json(symbol: Any) -> Any:
    if symbol is None or isinstance(symbol, str | int | float):
        return symbol
    if isinstance(symbol, tuple):
        return [_to_json(part) for part in symbol]
    if isinstance(symbol, bytes):
        return {"bytes": symbol.hex()}
    raise TypeError(f"symbol {symbol!r} of type {type(symbol).__name__} has no form in JSON")


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_json(part) for part in value)
    if isinstance(value, dict):
        if list(value) != ["bytes"]:
            raise ValueError(f"{value!r} is no symbol")
        return bytes.fromhex(value["bytes"])
    return value
