"""Single packets."""

import pytest

from tests.support.drivers import Plugged
from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi import Adapter, Direction, NdisApi

FRAME = bytes(range(60))


@pytest.mark.parametrize("direction", [Direction.SEND, Direction.RECEIVE])
def test_a_packet_goes_on_in_its_direction_and_back_against_it(
    api: NdisApi, adapter: Adapter, ethernet: Plugged, direction: Direction
) -> None:
    packet = api.new_packet(adapter, FRAME, direction)
    packet.send()
    ahead, behind = ethernet.network_received(), ethernet.stack_received()
    assert (ahead, behind) == (([FRAME], []) if direction == Direction.SEND else ([], [FRAME]))
    packet.send_back()
    ahead, behind = ethernet.network_received(), ethernet.stack_received()
    assert (ahead, behind) == (([], [FRAME]) if direction == Direction.SEND else ([FRAME], []))


def test_a_frame_is_changed_in_place_or_replaced(api: NdisApi, adapter: Adapter, ethernet: Plugged) -> None:
    packet = api.new_packet(adapter, FRAME)
    packet.frame[0] = 0xEE
    packet.send()
    packet.frame = b"x" * 100
    packet.send()
    packet.frame = packet.frame[:20]
    packet.send()
    assert ethernet.network_received() == [b"\xee" + FRAME[1:], b"x" * 100, b"x" * 20]


def test_a_jumbo_frame_is_refused_and_the_packet_stays_as_it_was(api: NdisApi, adapter: Adapter) -> None:
    packet = api.new_packet(adapter, FRAME)
    with pytest.raises(BackendError, match="a frame of 1515 bytes"):
        packet.frame = bytes(1515)
    assert packet.frame == FRAME


def test_a_packet_moves_to_another_adapter(api: NdisApi, adapter: Adapter, ethernet: Plugged, wifi: Plugged) -> None:
    packet = api.new_packet(adapter, FRAME)
    packet.adapter = api.find("Wi-Fi").handle
    packet.send()
    assert (ethernet.network_received(), wifi.network_received()) == ([], [FRAME])


def test_its_repr_shows_no_contents(api: NdisApi, adapter: Adapter) -> None:
    assert repr(api.new_packet(adapter, FRAME)) == "<Packet SEND of 60 bytes>"
