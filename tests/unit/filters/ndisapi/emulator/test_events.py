"""Emulated events."""

import threading

import pytest

from wiresock_py.filters.ndisapi import DeviceError
from wiresock_py.filters.ndisapi.emulator.events import Events


def test_the_first_that_is_set_is_found_and_stays_set() -> None:
    events = Events()
    one, two = events.create(), events.create()
    events.set(two)
    assert events.wait([one, two], 0) == 1
    events.set(one)
    assert events.wait([one, two], 0) == 0
    events.reset(one)
    assert events.wait([one, two], 0) == 1
    assert (events.is_set(one), events.is_set(two)) == (False, True)


def test_setting_wakes_another_thread() -> None:
    events = Events()
    event = events.create()
    threading.Timer(0.01, events.set, [event]).start()
    assert events.wait([event], 30) == 0


def test_a_closed_event_is_refused_but_the_driver_may_signal_it() -> None:
    events = Events()
    event = events.create()
    assert event in events
    events.close(event)
    events.signal(event)
    assert event not in events
    with pytest.raises(DeviceError, match="error 6"):
        events.wait([event], 0)


def test_handles_are_windows_like_and_never_repeat() -> None:
    events = Events()
    handles = [events.create() for _ in range(3)]
    events.close(handles[2])
    handles.append(events.create())
    assert len(set(handles)) == 4
    assert all(handle % 4 == 0 for handle in handles)
