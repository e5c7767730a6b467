import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.windows import FakeAdapter, FakeIpHelper
from wiresock_py.errors import NetworkError
from wiresock_py.network.changes import Change
from wiresock_py.network.windows.changes import WindowsChanges, state

ETHERNET = FakeAdapter("Ethernet", 5, addresses=(("192.0.2.2", 24),))


def called(helper: FakeIpHelper, number: int) -> None:
    callback: Callable[[None, None, int], Any] = helper.callbacks[number]
    callback(None, None, 0)


def test_each_call_back_is_its_kind_of_change_and_they_add_up() -> None:
    helper = FakeIpHelper()
    with WindowsChanges(helper) as changes:
        assert changes.wait(0) == Change.NONE
        called(helper, 1)
        assert changes.wait(0) == Change.LINK
        called(helper, 2)
        called(helper, 3)
        assert changes.wait(0) == Change.ADDRESS | Change.ROUTE
        assert changes.wait(0) == Change.NONE


def test_a_change_wakes_the_thread_that_waits() -> None:
    helper = FakeIpHelper()
    seen: list[Change] = []
    with WindowsChanges(helper) as changes:
        thread = threading.Thread(target=lambda: seen.append(changes.wait(30)))
        thread.start()
        called(helper, 3)
        thread.join(30)
    assert seen == [Change.ROUTE]


def test_closing_ends_the_subscriptions_and_a_wait() -> None:
    helper = FakeIpHelper()
    changes = WindowsChanges(helper)
    thread = threading.Thread(target=lambda: changes.wait(30))
    thread.start()
    changes.close()
    thread.join(30)
    assert not thread.is_alive()
    assert not helper.callbacks
    changes.close()


def test_where_windows_never_calls_back_what_there_is_is_compared() -> None:
    helper = FakeIpHelper(ETHERNET, missing=["Notify"])
    with WindowsChanges(helper, interval=0.001) as changes:
        assert changes.wait(0) == Change.NONE
        helper.adapters[0] = ETHERNET._replace(up=False)
        assert changes.wait(5) == Change.LINK
        helper.adapters[0] = ETHERNET._replace(up=False, addresses=())
        assert changes.wait(5) == Change.ADDRESS
        helper.add_route("0.0.0.0", 0, 5, "192.0.2.1")
        assert changes.wait(5) == Change.ROUTE
        assert changes.wait(0.01) == Change.NONE


def test_with_call_backs_nothing_is_read() -> None:
    def never(_helper: object) -> dict[Change, int]:
        raise AssertionError("read without need")

    with WindowsChanges(FakeIpHelper(), read=never) as changes:  # type: ignore[arg-type]  # it must not be called
        assert changes.wait(0) == Change.NONE


def test_a_reading_that_fails_is_no_change() -> None:
    helper = FakeIpHelper(ETHERNET, missing=["Notify"])
    with WindowsChanges(helper, interval=0.001) as changes:
        helper.adapters_error = 8
        assert changes.wait(0.005) == Change.NONE
        helper.adapters_error = 0
        assert changes.wait(0.005) == Change.NONE


def test_what_there_is_can_be_compared_even_without_routes() -> None:
    helper = FakeIpHelper(ETHERNET, missing=["GetIpForwardTable2"])
    assert state(helper) == state(helper)
    helper.adapters_error = 8
    with pytest.raises(NetworkError):
        state(helper)
