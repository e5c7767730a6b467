import os
import sys

import pytest

from wiresock_py.errors import EXIT_FAILURE
from wiresock_py.service import process


def test_a_worker_that_is_told_nothing_ends_by_itself() -> None:
    with process.start_worker() as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.close()
        assert worker.stdout.read() == b""
        assert worker.wait(30) == EXIT_FAILURE


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: process groups are POSIX'")
def test_what_the_terminal_sends_to_our_processes_does_not_reach_it() -> None:
    with process.start_worker() as worker:
        assert os.getpgid(worker.pid) == worker.pid != os.getpgid(0)
