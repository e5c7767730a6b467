"""The thread that notices changes, on a real namespace."""

import sys
import threading
import time
from itertools import pairwise

import pytest

assert sys.platform == "linux"

from tests.backends.namespaces import Namespace
from wiresock_py.filters.netfilter.watch import REST, Watch

pytestmark = pytest.mark.root

# Longer than any test: what happens is not the clock's doing.
NEVER = 3600.0
PATIENCE = 10.0


@pytest.mark.parametrize(
    "change",
    [
        ("ip", "route", "add", "192.0.2.0/24", "via", "10.78.0.1"),
        ("ip", "-6", "route", "add", "2001:db9::/32", "via", "fd78::1"),
        ("ip", "link", "set", "side0", "down"),
        ("iptables-nft", "-t", "mangle", "-A", "OUTPUT", "-j", "ACCEPT"),
    ],
)
def test_a_change_is_looked_at_without_waiting_for_the_clock(
    namespaces: tuple[Namespace, Namespace], change: tuple[str, ...]
) -> None:
    host = namespaces[0]
    looked = threading.Event()
    with host.inside():
        watch = Watch(looked.set, NEVER)
    watch.start()
    try:
        host.run(*change)
        assert looked.wait(PATIENCE)
    finally:
        watch.stop()


def test_the_clock_looks_too(namespaces: tuple[Namespace, Namespace]) -> None:
    looked = threading.Semaphore(0)
    with namespaces[0].inside():
        watch = Watch(looked.release, 0.01)
    watch.start()
    try:
        assert looked.acquire(timeout=PATIENCE)
        assert looked.acquire(timeout=PATIENCE)
    finally:
        watch.stop()


def test_constant_change_does_not_keep_it_busy(namespaces: tuple[Namespace, Namespace]) -> None:
    host = namespaces[0]
    looks: list[float] = []
    with host.inside():
        watch = Watch(lambda: looks.append(time.monotonic()), NEVER)
    watch.start()
    try:
        until = time.monotonic() + 3 * REST
        while time.monotonic() < until:
            host.ip("route", "add", "192.0.2.0/24", "via", "10.78.0.1")
            host.ip("route", "del", "192.0.2.0/24")
    finally:
        watch.stop()
    assert 2 <= len(looks) <= 5
    assert all(later - earlier >= REST * 0.9 for earlier, later in pairwise(looks))


def test_a_failure_is_kept_for_who_asks(namespaces: tuple[Namespace, Namespace]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with namespaces[0].inside():
        watch = Watch(fail, 0.01)
    watch.start()
    watch._thread.join(PATIENCE)
    watch.stop()
    assert isinstance(watch.failure, ZeroDivisionError)


def test_one_that_never_started_can_be_stopped(namespaces: tuple[Namespace, Namespace]) -> None:
    with namespaces[0].inside():
        Watch(lambda: None, NEVER).stop()
