"""Replacing functions of another library: all or nothing, once, and undoable."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from functools import reduce
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["HookError", "Hooks", "Replacement", "find", "function", "item", "library"]

_MISSING: Any = object()
_lock = threading.Lock()


class HookError(RuntimeError):
    """The library is not as expected, so nothing was replaced or put back."""


class Replacement(NamedTuple):
    """One thing to replace: how to look at it and set it, and what to put there."""

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None]
    value: Any


def library(name: str) -> ModuleType:
    """Import a module of a library.

    Raises
    ------
    ImportError
        If the library is not installed.
    HookError
        If it is, but without this module.
    """
    package = name.partition(".")[0]
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"tersor was to be put into {package}, which is not installed", name=package
        ) from error
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise HookError(f"this version of {package} has no module {name}") from error


def find(module: ModuleType, path: str) -> Any:
    """Find what stands in a module under a dotted path."""
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        raise HookError(f"this version of {module.__name__} has no {path}") from error


def function(module: ModuleType, path: str, value: Any) -> Replacement:
    """Replace a function of a module or class."""
    owner_path, _, name = path.rpartition(".")
    owner = find(module, owner_path) if owner_path else module
    # Not getattr(), which also finds inherited functions, and unwraps static ones.
    if name not in vars(owner):
        raise HookError(f"this version of {module.__name__} has no {path}")
    return Replacement(
        f"{module.__name__}.{path}", lambda: vars(owner)[name], lambda new: setattr(owner, name, new), value
    )


def item(mapping: MutableMapping[Any, Any], key: Any, name: str, value: Any) -> Replacement:
    """Replace an item of a dictionary, or add it."""

    def put(new: Any) -> None:
        if new is _MISSING:
            del mapping[key]
        else:
            mapping[key] = new

    return Replacement(name, lambda: mapping.get(key, _MISSING), put, value)


class Hooks:
    """All that is replaced in a library.

    Parameters
    ----------
    find : callable
        Finds what is to be replaced; raises `HookError` if anything is not there.
    """

    def __init__(self, find: Callable[[], list[Replacement]]) -> None:
        self._find = find
        self._replaced: list[tuple[Replacement, Any]] = []

    def install(self) -> None:
        """Replace everything, unless that has been done."""
        with _lock:
            if not self._replaced:
                found = [(replacement, replacement.get()) for replacement in self._find()]
                for replacement, _ in found:
                    replacement.set(replacement.value)
                self._replaced = found

    def uninstall(self) -> None:
        """Put back everything that was replaced.

        Raises
        ------
        HookError
            If someone else has replaced the same things since; theirs must be undone first.
        """
        with _lock:
            for replacement, _ in self._replaced:
                if replacement.get() is not replacement.value:
                    raise HookError(f"{replacement.name} was replaced by someone else after tersor")
            for replacement, original in self._replaced:
                replacement.set(original)
            self._replaced = []
