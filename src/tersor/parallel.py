"""Work over threads, with results in order and a bounded number of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked child has the executor's object but none of its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_workers(threads: int | None) -> int:
    """Resolve the `threads` argument of the public functions."""
    if threads is None:
        return n_cores()
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    return threads


def ordered_map(function: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> Iterator[R]:
    """Apply `function` over threads and yield the results in the order of `items`.

    At most two items a worker are taken ahead of the consumer, so that memory stays bounded however
    long `items` is. The first exception, in order, is raised, and nothing is left running. `function`
    must not call `ordered_map` itself: the workers are shared.
    """
    global _pool
    workers = n_workers(threads)
    iterator = iter(items)
    ahead = list(_take(iterator, 2)) if workers > 1 else []
    if len(ahead) < 2:  # one thread, or nothing to share
        yield from map(function, ahead)
        yield from map(function, iterator)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(n_cores(), thread_name_prefix="tersor")
    pool = _pool
    pending: deque[Future[R]] = deque(pool.submit(function, item) for item in ahead)
    try:
        while pending:
            pending.extend(
                pool.submit(function, item) for item in _take(iterator, 2 * workers - len(pending))
            )
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        for future in pending:
            if not future.cancelled():
                future.exception()


def _take(iterator: Iterator[T], n: int) -> Iterator[T]:
    for _ in range(n):
        try:
            yield next(iterator)
        except StopIteration:
            return
