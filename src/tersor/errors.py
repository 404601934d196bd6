"""Exceptions that tersor raises for data it cannot accept."""

__all__ = [
    "CorruptDataError",
    "LimitError",
    "TersorError",
    "TruncatedDataError",
    "UnsupportedFormatError",
]


class TersorError(ValueError):
    """Base of all of tersor's data errors."""


class CorruptDataError(TersorError):
    """The data is damaged, or is no such data at all."""


class TruncatedDataError(CorruptDataError, EOFError):
    """The data ends before its end mark; also an `EOFError`, as file objects promise."""


class UnsupportedFormatError(TersorError):
    """The data may be fine, but uses a version or feature that this release does not know."""


class LimitError(TersorError):
    """The data would decode to more than the caller allowed."""
