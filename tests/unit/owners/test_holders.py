import sys
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("/proc is Linux's", allow_module_level=True)

from tests.support.processes import FakeProc
from wiresock_py.owners.holders import FORGET_UNHELD_AFTER, LATEST_OWNERS, REMEMBERED_OWNERS, Holders
from wiresock_py.owners.procfs import ProcFs


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def proc(fake_proc: FakeProc) -> Iterator[ProcFs]:
    files = ProcFs(str(fake_proc.root))
    yield files
    files.close()


def pids(holders: Holders, *inodes: int) -> list[list[int]]:
    found = holders.find(inodes)
    return [[process.app.pid for process in found.get(inode, [])] for inode in inodes]


def test_nothing_is_read_before_it_is_asked_for_and_then_no_more_than_needed(
    fake_proc: FakeProc, proc: ProcFs, clock: Clock
) -> None:
    fake_proc.process(10, sockets={3: 500})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    assert pids(holders, 500) == [[10]]
    assert holders.searches == 0


def test_a_new_process_is_found_without_searching_all(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    fake_proc.process(10, sockets={3: 500})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    fake_proc.process(11, sockets={3: 501})
    assert pids(holders, 501) == [[11]]
    assert holders.searches == 0


def test_a_socket_opened_for_a_closed_one_is_found_though_the_count_is_the_same(
    fake_proc: FakeProc, proc: ProcFs, clock: Clock
) -> None:
    for pid in range(10, 10 + 3 * LATEST_OWNERS):
        fake_proc.process(pid, sockets={3: 490 + pid})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    assert pids(holders, 490 + 10) == [[10]]  # every process was read on the way to the oldest
    fake_proc.process(12, sockets={3: 999})
    assert pids(holders, 999) == [[12]]
    assert holders.searches == 1


def test_a_recent_owner_is_looked_at_before_a_search(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    fake_proc.process(10, sockets={3: 500})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    assert pids(holders, 500) == [[10]]
    fake_proc.process(10, sockets={3: 501})
    assert pids(holders, 501) == [[10]]
    assert holders.searches == 0


def test_an_earlier_owner_that_closed_and_opened_is_found_before_a_search(
    fake_proc: FakeProc, proc: ProcFs, clock: Clock
) -> None:
    for pid in range(10, 10 + 3 * LATEST_OWNERS):
        fake_proc.process(pid, sockets={3: 490 + pid})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    for pid in range(10, 10 + 3 * LATEST_OWNERS):
        assert pids(holders, 490 + pid) == [[pid]]
    fake_proc.process(10, sockets={3: 999})
    assert pids(holders, 999) == [[10]]
    assert holders.searches == 0


def test_only_so_many_owners_are_remembered(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    for pid in range(10, 20 + REMEMBERED_OWNERS):
        fake_proc.process(pid, sockets={3: 490 + pid})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    holders.find(range(500, 510 + REMEMBERED_OWNERS))
    assert len(holders._owners) == REMEMBERED_OWNERS


def test_a_reused_pid_does_not_inherit_the_dead_process_socket(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    fake_proc.process(10, sockets={3: 500}, started=100, exe="/bin/old")
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    fake_proc.process(10, sockets={3: 777}, started=900, exe="/bin/new")
    assert pids(holders, 500) == [[]]
    (found,) = holders.find([777])[777]
    assert (found.app.started, found.app.path) == (900.0, "/bin/new")


def test_a_socket_that_moved_to_another_process_is_found_there(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    fake_proc.process(10, sockets={3: 500})
    fake_proc.process(11, sockets={})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    fake_proc.process(10, sockets={})
    fake_proc.process(11, sockets={4: 500})
    assert pids(holders, 500) == [[11]]


def test_a_dead_process_holds_nothing(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    fake_proc.process(10, sockets={3: 500})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    fake_proc.remove(10)
    assert pids(holders, 500) == [[]]


def test_the_ancestors_of_a_holder_are_asked_and_the_oldest_comes_first(
    fake_proc: FakeProc, proc: ProcFs, clock: Clock
) -> None:
    fake_proc.process(10, sockets={}, started=100)
    fake_proc.process(11, sockets={}, started=200, parent=10)
    fake_proc.process(12, sockets={}, started=300, parent=11)
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    for pid, started, parent in ((10, 100, 1), (11, 200, 10), (12, 300, 11)):
        fake_proc.process(pid, sockets={5: 500, 6: 501}, started=started, parent=parent)
    first = pids(holders, 500)[0]
    assert first == sorted(first)
    assert 12 in first or 10 in first
    assert pids(holders, 500) == [first]  # the same answer every time


def test_one_call_answers_for_many_sockets(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    for pid in range(10, 40):
        fake_proc.process(pid, sockets={3: 490 + pid})
    assert pids(holders, *range(500, 530)) == [[pid] for pid in range(10, 40)]


def test_a_socket_nobody_holds_is_searched_twice_and_then_left_for_a_while(
    fake_proc: FakeProc, proc: ProcFs, clock: Clock
) -> None:
    fake_proc.process(10, sockets={3: 500})
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    for searches in (1, 2, 2, 2):
        assert pids(holders, 600) == [[]]
        assert holders.searches == searches
    clock.now += FORGET_UNHELD_AFTER
    assert pids(holders, 600) == [[]]
    assert holders.searches == 3


def test_searches_rest_as_long_as_they_took(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    fake_proc.process(10, sockets={3: 500})

    class Slow(ProcFs):
        def sockets(self, pid: int) -> dict[int, bytes]:
            clock.now += 0.25
            return super().sockets(pid)

    slow = Slow(str(fake_proc.root))
    holders = Holders(slow, clock=clock, sleep=clock.sleep)
    for inode in (600, 601, 602, 603):  # the first reads what was never seen, which is no search yet
        holders.find([inode])
    assert clock.slept == [0.25, 0.25]
    slow.close()


def test_many_unheld_sockets_do_not_grow_without_bound(fake_proc: FakeProc, proc: ProcFs, clock: Clock) -> None:
    holders = Holders(proc, clock=clock, sleep=clock.sleep)
    for batch in range(10):
        holders.find(range(batch * 1000, batch * 1000 + 1000))
    assert len(holders._unheld) <= 4096
