"""What filters/base.py promises of opening, attaching, updating and closing, for every backend, as test_contract.py."""

import threading
from contextlib import closing

import pytest

from tests.backends.traffic import (
    BOTH,
    INSIDE,
    INSIDE_PLAN,
    OUTSIDE,
    left,
    plan,
    take,
)
from tests.backends.worlds import World
from wiresock_py.errors import BackendError
from wiresock_py.filters import PacketBatch, Verdict


@BOTH
def test_close_restores(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    world.send(b"lost", INSIDE[version])
    world.backend.close()
    world.send(b"open", INSIDE[version])
    assert left(world) == [b"open"]
    assert world.backend.receive(0.0) is None


@BOTH
@pytest.mark.parametrize("fail_open", [False, True])
def test_close_can_leave_the_plan_blocked(world: World, version: int, fail_open: bool) -> None:
    capture = plan("203.0.113.0/24", "2001:db8::/32", fail_open=fail_open)
    world.backend.open(capture)
    world.backend.close(keep_blocking=True)
    world.send(b"secret", INSIDE[version])
    world.send(b"open", OUTSIDE[version])
    assert left(world) == [b"open"]
    world.backend.open(INSIDE_PLAN)
    world.send(b"served", INSIDE[version])
    assert take(world, 1) == [b"served"]
    world.backend.close()
    world.send(b"free", INSIDE[version])
    assert left(world) == [b"free"]


@BOTH
def test_attaching_serves_what_stands_and_keeps_bypassed_flows(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"one", INSIDE[version])
    take(world, 1, Verdict.BYPASS)
    world.backend.close(keep_blocking=True)
    world.backend.attach(INSIDE_PLAN)
    world.send(b"two", INSIDE[version], source_port=port)
    world.send(b"other", INSIDE[version])
    assert left(world) == [b"one", b"two"]
    assert take(world, 1) == [b"other"]
    world.backend.close()
    world.send(b"free", INSIDE[version])
    assert left(world) == [b"free"]


def test_attaching_installs_where_nothing_stands(world: World) -> None:
    world.backend.attach(INSIDE_PLAN)
    world.send(b"secret", INSIDE[4])
    assert take(world, 1) == [b"secret"]


def test_a_guard_captures_nothing_and_is_in_nobodys_way(world: World) -> None:
    with world.guard(), world.guard():
        world.send(b"open", INSIDE[4])
        assert left(world) == [b"open"]
        world.backend.open(INSIDE_PLAN)
        world.send(b"secret", INSIDE[4])
        assert take(world, 1) == [b"secret"]
    world.send(b"still secret", INSIDE[4])
    assert take(world, 1) == [b"still secret"]
    world.backend.close()
    world.send(b"free", INSIDE[4])
    assert left(world) == [b"free"]


def test_close_may_be_repeated_and_serves_a_with_block(world: World) -> None:
    with closing(world.backend) as backend:
        backend.open(INSIDE_PLAN)
    world.backend.close()
    world.send(b"open", INSIDE[4])
    assert left(world) == [b"open"]


def test_closing_wakes_a_waiting_receive(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    results: list[PacketBatch | None] = []
    waiting = threading.Thread(target=lambda: results.append(world.backend.receive(30)))
    waiting.start()
    world.backend.close()
    waiting.join(10)
    assert results == [None]


def test_opening_twice_is_refused(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    with pytest.raises(BackendError, match="open already"):
        world.backend.open(INSIDE_PLAN)
    world.send(b"still", INSIDE[4])
    assert take(world, 1) == [b"still"]


def test_an_update_changes_what_is_captured(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    world.backend.update(plan("198.51.100.0/24"))
    world.send(b"now open", INSIDE[4])
    world.send(b"now captured", OUTSIDE[4])
    assert left(world) == [b"now open"]
    assert take(world, 1) == [b"now captured"]


def test_nothing_within_the_timeout_is_none(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    assert world.backend.receive(0.01) is None


def test_statistics_add_up(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    for verdict, count in ((Verdict.DROP, 3), (Verdict.PASS, 2), (Verdict.BYPASS, 1)):
        for _ in range(count):
            world.send(b"x", INSIDE[4])
        take(world, count, verdict)
    found = world.backend.statistics()
    assert {name: found[name] for name in ("captured", "dropped", "passed", "bypassed")} == {
        "captured": 6,
        "dropped": 3,
        "passed": 2,
        "bypassed": 1,
    }
    assert all(found[name] == 0 for name in ("injected", "sent", "queue_full", "truncated"))


def test_a_backend_that_works_here_gives_no_reason(world: World) -> None:
    assert world.unavailable_reason() is None
