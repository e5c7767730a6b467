"""The clock that sessions age by."""

import sys
import time

import pytest

from wiresock_py.engine.clock import now


def test_it_never_goes_back() -> None:
    looks = [now() for _ in range(1000)]
    assert looks == sorted(looks)


@pytest.mark.skipif(
    sys.platform != "linux", reason="for other systems: elsewhere the monotonic clock counts sleep by itself"
)
def test_it_counts_the_time_asleep() -> None:
    assert abs(now() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1
