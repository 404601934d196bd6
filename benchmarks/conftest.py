"""What all benchmarks share: run a peer in one direction, in a group with the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from inputs import UnavailableError
from peers import Peer, to_bytes
from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 5

Run = Callable[[str, str, Callable[[], tuple[Peer, Any]]], None]


@pytest.fixture
def run(benchmark: BenchmarkFixture) -> Run:
    """Time ``run(direction, group, prepare)``, where `prepare` makes the peer and its data.

    Times are to be compared within a group. The test is skipped if `prepare` finds one of them missing.
    """

    def run(direction: str, group: str, prepare: Callable[[], tuple[Peer, Any]]) -> None:
        try:
            peer, source = prepare()
        except UnavailableError as missing:
            pytest.skip(str(missing))
        source = peer.sample(source)
        compressed = peer.checked(source)
        n_bytes = len(to_bytes(source))
        benchmark.group = f"{group}: {direction}"
        benchmark.extra_info["bytes"] = n_bytes
        benchmark.extra_info["ratio"] = len(to_bytes(compressed)) / n_bytes

        def arguments() -> tuple[tuple[Any], dict[str, Any]]:
            return (peer.fresh(source) if direction == "compress" else compressed,), {}

        benchmark.pedantic(getattr(peer, direction), setup=arguments, rounds=ROUNDS)

    return run
