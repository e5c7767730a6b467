"""What the emulated driver does with frames that come by."""

import pytest

from wiresock_py.filters.ndisapi import Action, Adapter, AdapterMode, NdisApi, StaticFilter
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter

FRAME = b"\x02\0\0\0\0\x01" + bytes(54)  # to the first adapter's own address
FOREIGN = b"\x02\0\0\0\0\x77" + bytes(54)
GROUP = b"\xff" * 6 + bytes(54)


@pytest.mark.parametrize(
    ("mode", "sent", "received", "queued"),
    [
        (AdapterMode.NONE, True, True, 0),
        (AdapterMode.SENT_TUNNEL, False, True, 1),
        (AdapterMode.RECV_TUNNEL, True, False, 1),
        (AdapterMode.TUNNEL, False, False, 2),
        (AdapterMode.SENT_LISTEN, True, True, 1),
        (AdapterMode.LISTEN, True, True, 2),
        (AdapterMode.SENT_TUNNEL | AdapterMode.RECV_LISTEN, False, True, 2),
    ],
)
def test_a_mode_holds_or_copies_what_it_says(
    api: NdisApi,
    adapter: Adapter,
    ethernet: EmulatedAdapter,
    mode: AdapterMode,
    sent: bool,
    received: bool,
    queued: int,
) -> None:
    api.set_mode(adapter, mode)
    ethernet.stack_sends(FRAME)
    ethernet.network_sends(FRAME)
    assert (bool(ethernet.network_received()), bool(ethernet.stack_received())) == (sent, received)
    assert api.queue_size(adapter) == queued


@pytest.mark.parametrize(
    ("action", "left", "queued"),
    [
        (Action.PASS, True, 0),
        (Action.DROP, False, 0),
        (Action.REDIRECT, False, 1),
        (Action.PASS_AND_COPY, True, 1),
        (Action.DROP_AND_COPY, False, 1),
    ],
)
def test_a_filter_goes_before_the_mode(
    api: NdisApi, adapter: Adapter, ethernet: EmulatedAdapter, action: Action, left: bool, queued: int
) -> None:
    api.set_filters([StaticFilter(action)])
    api.set_mode(adapter, AdapterMode.TUNNEL if action == Action.PASS else AdapterMode.SENT_LISTEN)
    ethernet.stack_sends(FRAME)
    assert (bool(ethernet.network_received()), api.queue_size(adapter)) == (left, queued)


def test_filters_do_nothing_on_an_adapter_without_a_mode(
    api: NdisApi, adapter: Adapter, ethernet: EmulatedAdapter
) -> None:
    api.set_filters([StaticFilter(Action.DROP)])
    ethernet.stack_sends(FRAME)
    assert ethernet.network_received() == [FRAME]


def test_frames_for_other_machines_are_kept_from_the_stack(
    api: NdisApi, adapter: Adapter, ethernet: EmulatedAdapter
) -> None:
    api.set_mode(adapter, AdapterMode.FILTER_DIRECT)
    for frame in (FRAME, FOREIGN, GROUP):
        ethernet.network_sends(frame)
    assert ethernet.stack_received() == [FRAME, GROUP]


@pytest.mark.parametrize(
    ("mode", "received", "queued"),
    [
        (AdapterMode.TUNNEL, [FRAME, GROUP], 0),
        (AdapterMode.TUNNEL | AdapterMode.LOOPBACK_FILTER, [], 2),
        (AdapterMode.TUNNEL | AdapterMode.LOOPBACK_BLOCK, [GROUP], 0),
    ],
)
def test_looped_back_frames_have_modes_of_their_own(
    api: NdisApi, adapter: Adapter, ethernet: EmulatedAdapter, mode: AdapterMode, received: list[bytes], queued: int
) -> None:
    api.set_mode(adapter, mode)
    ethernet.loops_back(FRAME)
    ethernet.loops_back(GROUP)
    assert (ethernet.stack_received(), api.queue_size(adapter)) == (received, queued)


def test_injected_frames_are_not_captured_again(api: NdisApi, adapter: Adapter, ethernet: EmulatedAdapter) -> None:
    api.set_mode(adapter, AdapterMode.TUNNEL)
    packet = api.new_packet(adapter, FRAME)
    packet.send()
    packet.send_back()
    assert api.queue_size(adapter) == 0
    assert ethernet.network_received() == ethernet.stack_received() == [FRAME]


def test_a_frame_larger_than_the_drivers_is_the_tests_mistake(ethernet: EmulatedAdapter) -> None:
    with pytest.raises(ValueError, match="no frame of 1515 bytes"):
        ethernet.stack_sends(bytes(1515))
