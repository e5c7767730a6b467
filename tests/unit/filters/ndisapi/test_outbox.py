"""Frames of our own making."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datapaths import NOT_BUILT
from wiresock_py.datapath import NATIVE
from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi import DeviceError, Direction, PacketBlock
from wiresock_py.filters.ndisapi.outbox import Outbox, Place, ends, make_place

LINK = bytes(range(12)) + b"\x08\x00"
PLACE = make_place(0xABCD, Direction.RECEIVE, LINK, 0x64, 1500)
V4 = b"\x45" + bytes(11) + bytes((10, 0, 0, 1, 10, 0, 0, 2))
V6 = b"\x60" + bytes(7) + bytes(range(32))


class Driver:
    """Takes blocks; *room* packets of each."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.sent: list[tuple[int, int, bytes]] = []
        self.calls = 0

    def send(self, block: PacketBlock) -> int:
        self.calls += 1
        taken = min(len(block), self.room)
        self.sent += [(block.adapter(i), block.direction(i), bytes(block.frame(i))) for i in range(taken)]
        return taken


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), max_size=20), st.integers(1, 7))
def test_each_packet_is_a_frame_in_order_however_many_fit_into_a_request(
    packets: list[list[bytes]], capacity: int
) -> None:
    driver = Driver()
    assert Outbox(driver.send, capacity).send(packets, lambda _packet: PLACE) == len(packets)
    assert driver.sent == [(0xABCD, Direction.RECEIVE, LINK + b"".join(packet)) for packet in packets]
    assert driver.calls == -(-len(packets) // capacity)


def test_a_frame_says_nothing_of_the_one_before_it_in_its_place() -> None:
    blocks: list[bytes] = []

    def send(block: PacketBlock) -> int:
        blocks.append(bytes(block.data[:66]))
        return len(block)

    outbox = Outbox(send, 1)
    outbox.send([[b"x" * 100]], lambda _: make_place(1, Direction.SEND, LINK, 0, 1500))
    outbox.send([[b"y"]], lambda _: PLACE)
    assert blocks[1] == PLACE.head[:20] + (15).to_bytes(4, "little") + PLACE.head[24:]


def test_what_has_no_place_or_is_too_large_is_counted_and_the_rest_is_sent() -> None:
    driver = Driver()

    def place_of(packet: Sequence[Buffer]) -> Place | str:
        return "no_adapter" if packet[0] == b"lost" else PLACE

    outbox = Outbox(driver.send, 4)
    assert outbox.send([[b"lost"], [b"one"], [bytes(1000), bytes(501)], [bytes(1500)]], place_of) == 2
    assert outbox.refusals == {"no_adapter": 1, "too_big": 1}
    assert [len(frame) for *_, frame in driver.sent] == [17, 1514]


def test_what_the_driver_does_not_take_is_counted() -> None:
    outbox = Outbox(Driver(room=2).send, 4)
    assert outbox.send([[b"x"]] * 4, lambda _: PLACE) == 2
    assert outbox.refusals == {"by_driver": 2}

    def refuse(_block: PacketBlock) -> int:
        raise DeviceError(0, 31)

    outbox = Outbox(refuse, 4)
    assert outbox.send([[b"x"]] * 3, lambda _: PLACE) == 0
    assert outbox.refusals == {"by_driver": 3}


OTHER = make_place(7, Direction.RECEIVE, LINK[:-2] + b"\x81\0\0\x05\x86\xdd", 0, 300)
PLACES = {V4[16:20]: PLACE, V6[24:40]: OTHER}
# headers with and without a place, of no version, and cut off
HEADS = st.sampled_from([V4, V6, V4[:16] + b"lost", V6[:39] + b"?", bytes(40), V4[:19], V6[:30]])
PIECES = st.lists(st.sampled_from([b"", b"payload", bytes(254), bytes(1480)]), max_size=3)
PACKETS = st.lists(
    st.builds(lambda head, rest: [memoryview(piece) for piece in (head, *rest)], HEADS, PIECES), max_size=12
)
compiled_only = pytest.mark.skipif(NATIVE is None, reason=NOT_BUILT)


def place_by_destination(packet: Sequence[Buffer]) -> Place | str:
    both = ends(packet)
    return PLACES.get(both[len(both) // 2 :], "no_adapter" if both else "malformed")


@compiled_only
@settings(deadline=None)
@given(PACKETS, st.integers(1, 5), st.integers(0, 5))
def test_compiled_code_makes_the_frames_that_python_makes(
    packets: list[list[memoryview]], capacity: int, room: int
) -> None:
    drivers = Driver(room), Driver(room)
    python, compiled = Outbox(drivers[0].send, capacity), Outbox(drivers[1].send, capacity, compiled=True)
    taken = python.send(packets, place_by_destination, PLACES)
    assert compiled.send(packets, place_by_destination, PLACES) == taken
    assert compiled.refusals == python.refusals
    assert (drivers[1].sent, drivers[1].calls) == (drivers[0].sent, drivers[0].calls)


@compiled_only
def test_a_header_in_pieces_is_left_to_python() -> None:
    driver = Driver()
    packets = [[V6[:9], V6[9:]], [V4, b"other"]]
    assert Outbox(driver.send, 4, compiled=True).send(packets, place_by_destination, PLACES) == 2
    assert sorted(frame[-5:] for *_, frame in driver.sent) == [V6[-5:], b"other"]


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        ([V4], V4[12:]),
        ([V6], V6[8:]),
        ([V4[:3], V4[3:14], V4[14:] + b"rest"], V4[12:]),
        ([V6[:20], V6[20:]], V6[8:]),
        ([memoryview(V6 + b"rest")], V6[8:]),
        ([], b""),
        ([b""], b""),
        ([V4[:19]], b""),
        ([V6[:39]], b""),
        ([bytes(40)], b""),
    ],
)
def test_the_ends_of_a_packet_are_read_from_its_header(packet: list[Buffer], expected: bytes) -> None:
    assert ends(packet) == expected
