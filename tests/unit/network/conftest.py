"""Tests that look at a network of their own: a namespace made for one test, entered by this thread alone."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

CLONE_NEWNET = 0x4000_0000

Run = Callable[[str], None]


@pytest.fixture
def empty_network() -> Iterator[Run]:
    """This thread in a new network namespace without a name, which is gone with the test; runs commands in it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(CLONE_NEWNET):
        os.close(home)
        pytest.skip("this system makes no network namespaces")
    try:

        def run(command: str) -> None:
            subprocess.run(command.split(), check=True, capture_output=True)

        run("ip link set lo up")
        yield run
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)
