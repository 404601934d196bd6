"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tersor import _native

# The same examples in every run: a failure seen once is seen again.
settings.register_profile(
    "tersor",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tersor")


@pytest.fixture(params=_native.cpu_paths())
def cpu_path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test on each CPU path that the machine has."""
    before = _native.cpu_features()["selected"]
    _native.select_cpu(request.param)
    yield request.param
    _native.select_cpu(str(before))
