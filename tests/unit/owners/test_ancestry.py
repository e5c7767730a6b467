import os
import subprocess
import sys

import pytest

from tests.support.wine import in_wine
from wiresock_py.flow import App
from wiresock_py.owners.ancestry import MAX_DEPTH, MAX_KEPT, Ancestry, with_parent
from wiresock_py.owners.base import Process
from wiresock_py.owners.portable import process_facts

process_now = with_parent(process_facts)


def process(pid: int, parent: int, started: float = 0.0, path: str = "") -> Process:
    return Process(App(pid, started or float(pid), path or f"/bin/p{pid}"), parent)


class Processes:
    """A table of processes that can change, and counts its look-ups."""

    def __init__(self, *processes: Process) -> None:
        self.of = {each.app.pid: each for each in processes}
        self.asked = 0

    def __call__(self, pid: int) -> Process | None:
        self.asked += 1
        return self.of.get(pid)


def pids(ancestry: Ancestry, given: Process) -> list[int]:
    return [app.pid for app in ancestry.of(given.app)]


def test_the_parents_come_nearest_first() -> None:
    table = Processes(process(1, 0), process(5, 1), process(9, 5))
    assert pids(Ancestry(table), table.of[9]) == [5, 1]


def test_a_younger_process_with_the_parents_pid_is_no_parent() -> None:
    table = Processes(process(5, 1, started=20.0), process(9, 5, started=10.0))
    assert pids(Ancestry(table), table.of[9]) == []


def test_a_process_that_took_the_pid_of_the_asked_one_lends_it_no_parents() -> None:
    table = Processes(process(5, 1), process(9, 5, started=50.0))
    assert Ancestry(table).of(App(9, 9.0, "/bin/p9")) == ()


def test_what_was_found_stays_when_the_parent_ends_and_is_not_asked_for_again() -> None:
    table = Processes(process(1, 0), process(5, 1), process(9, 5))
    ancestry = Ancestry(table)
    first = pids(ancestry, table.of[9])
    child = table.of[9]
    table.of = {1: table.of[1], 9: process(9, 1)}
    asked = table.asked
    assert pids(ancestry, child) == first == [5, 1]
    assert table.asked == asked


def test_a_child_inherits_what_is_known_of_its_parent() -> None:
    table = Processes(process(1, 0), process(5, 1), process(9, 5))
    ancestry = Ancestry(table)
    ancestry.of(table.of[9].app)
    table.of = {9: process(9, 1), 12: process(12, 9)}  # the launcher, 5, has ended
    assert pids(ancestry, table.of[12]) == [9, 5, 1]


def test_circles_end_and_the_memory_is_bounded() -> None:
    table = Processes(*(process(pid, pid, started=1.0) for pid in range(1, MAX_KEPT + 100)))
    ancestry = Ancestry(table)
    assert len(ancestry.of(table.of[1].app)) <= MAX_DEPTH
    for each in table.of.values():
        ancestry.of(each.app)
    assert len(ancestry._kept) <= MAX_KEPT


@pytest.mark.skipif(in_wine(), reason="for other systems: in Wine psutil has no names for processes' files")
def test_a_real_child_has_this_process_among_its_ancestors() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            found = process_now(child.pid)
            assert found is not None
            ancestors = Ancestry(process_now).of(found.app)
            assert ancestors[0].pid == os.getpid()
            assert os.path.realpath(ancestors[0].path) == os.path.realpath(sys.executable)
            assert [app.pid for app in Ancestry(process_now).of(ancestors[0])] == [app.pid for app in ancestors[1:]]
        finally:
            child.communicate(b"\n")


def test_a_process_that_is_gone_has_no_facts() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert process_now(child.pid) is None
