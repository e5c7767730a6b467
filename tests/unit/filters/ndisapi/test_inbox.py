"""Captured packets: frames of every kind, fragments, checksums."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.packets import Datagram, build, checksum, read
from tests.support.captures import ADAPTERS, OWN, PATIENCE, PLAN, REMOTE, datagram, packets, payloads, take, wait_for
from tests.support.datapaths import NOT_BUILT
from tests.support.drivers import Driver
from tests.support.ethernet import EthernetHost
from wiresock_py.datapath import NATIVE
from wiresock_py.filters import PacketFlag, Verdict
from wiresock_py.filters.ndisapi import (
    Action,
    AdapterMode,
    NdisApi,
    StaticFilter,
)
from wiresock_py.filters.ndisapi import serving as serving_module
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.inbox import plain_lengths
from wiresock_py.filters.ndisapi.packets import LENGTH_AT, STRIDE, PacketBlock
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER


@pytest.mark.parametrize("vlan", [0, 0x0064_0003])
@pytest.mark.parametrize("tags", [b"", b"\x81\x00\x00\x64", b"\x88\xa8\x00\x07\x81\x00\x00\x64"])
def test_a_tagged_frame_is_captured_and_what_goes_on_or_comes_back_is_tagged_alike(
    backend: NdisApiBackend, host: EthernetHost, inside: EmulatedAdapter, tags: bytes, vlan: int
) -> None:
    backend.open(PLAN)
    packet = datagram(b"tagged")
    link = host.next_hop_mac(2, packet[16:20])
    assert link is not None
    frame = link + inside.mac + tags + b"\x08\x00" + packet
    # the driver's filters may not look behind a tag: as if one had
    buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=len(frame), m_8021q=vlan)
    buffer.m_IBuffer[: len(frame)] = frame
    for verdict in (Verdict.PASS, Verdict.DROP):
        inside.queue(buffer)
        assert take(backend, verdict) == [b"tagged"]
    assert inside.network_received() == [frame]
    assert backend.send_to_network([[packet]], 2) == 1
    assert inside.network_received() == [frame]
    assert backend.send_to_stack([[datagram(b"answer", to=OWN[4], source=REMOTE[4])]]) == 1
    (up,) = inside.stack_received()
    assert up[12 : 12 + len(tags)] == tags
    assert up[:12] == inside.mac + link


@pytest.mark.parametrize(
    "frame",
    [
        bytes(12) + b"\x08\x06" + bytes(28),
        bytes(12) + b"\x08\x00",
        bytes(12) + b"\x08\x00\x45" + bytes(18),
        bytes(12) + b"\x81\x00\x00\x01",
        bytes(12) + b"\x81\x00\x00\x01\x88\x8e" + bytes(50),
        bytes(12) + b"\x81\x00\x00\x01" * 4 + b"\x08\x00" + bytes(50),
        bytes(12) + b"\x00\x40\xaa\xaa\x03" + bytes(40),
    ],
    ids=["ARP", "no packet", "cut off", "tag cut off", "tagged EAPOL", "too many tags", "802.3"],
)
def test_a_frame_without_an_ip_packet_goes_on_unchanged_and_is_not_shown(
    backend: NdisApiBackend, host: EthernetHost, inside: EmulatedAdapter, frame: bytes
) -> None:
    backend.open(PLAN)
    buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=len(frame))
    buffer.m_IBuffer[: len(frame)] = frame
    inside.queue(buffer)
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    assert inside.network_received() == [frame]
    counted = backend.statistics()
    assert (counted["not_ip"], counted["captured"], counted["not_passed"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("length", "cause"),
    [(0, "malformed"), (13, "malformed"), (1515, "truncated"), (9014, "truncated"), (2**32 - 1, "truncated")],
)
def test_a_frame_of_impossible_length_is_a_counted_drop(
    backend: NdisApiBackend, host: EthernetHost, inside: EmulatedAdapter, length: int, cause: str
) -> None:
    backend.open(PLAN)
    inside.queue(INTERMEDIATE_BUFFER(m_dwDeviceFlags=1, m_Length=length))
    host.stack_sends(datagram(b"after"))
    assert take(backend) == [b"after"]
    counted = backend.statistics()
    assert (counted[cause], counted["captured"]) == (1, 1)


def test_a_frame_that_another_program_captured_on_its_way_in_goes_to_the_stack(
    backend: NdisApiBackend, host: EthernetHost, driver: Driver
) -> None:
    backend.open(PLAN)
    with NdisApi(driver.open()) as other:
        other.set_mode(other.find("side0"), AdapterMode.RECV_TUNNEL)
        other.add_filter_first(StaticFilter(Action.REDIRECT, ethertype=0x0800))
        host.network_sends(build(Datagram("10.78.0.1", 1, "10.78.0.2", 2, b"theirs")), "side0")
    assert backend.receive(0.0) is None
    assert payloads(host.stack_received("side0")) == [b"theirs"]
    assert backend.statistics()["foreign"] == 1


def test_the_largest_frame_is_captured_whole(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(bytes(1472)))
    assert take(backend, Verdict.PASS) == [bytes(1472)]
    assert payloads(host.network_received()) == [bytes(1472)]


@pytest.mark.parametrize("size", [1501, 65_535])
def test_a_packet_larger_than_a_frame_is_refused_both_ways(backend: NdisApiBackend, size: int) -> None:
    backend.open(PLAN)
    wait_for(lambda: backend.send_to_network([[datagram(b"")]], 2))  # once the router is known
    packet = datagram(bytes(size - 28), to=OWN[4], source=REMOTE[4])
    assert backend.send_to_stack([[packet]]) == 0
    assert backend.send_to_network([[datagram(bytes(size - 28))]], 2) == 0
    counted = backend.statistics()
    assert (counted["not_injected_too_big"], counted["not_sent_too_big"]) == (1, 1)


def test_a_batch_larger_than_the_drivers_is_sent_in_several(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    count = serving_module.BATCH_PACKETS * 2 + 3
    answers = [[datagram(b"%d" % i, to=OWN[4], source=REMOTE[4])] for i in range(count)]
    assert backend.send_to_stack(answers) == count
    assert payloads(host.stack_received()) == [b"%d" % i for i in range(count)]


@pytest.mark.parametrize(
    ("packet", "cause"),
    [
        ([], "malformed"),
        ([b""], "malformed"),
        ([b"\x45" + bytes(10)], "malformed"),
        ([b"\x60" + bytes(30)], "malformed"),
        ([bytes(40)], "malformed"),
        ([datagram(b"", to="192.0.2.77")], "no_adapter"),
        ([datagram(b"", 6, to="2001:db8::77")], "no_adapter"),
    ],
)
def test_what_is_for_nobody_here_is_refused_and_counted(
    backend: NdisApiBackend, packet: list[bytes], cause: str
) -> None:
    backend.open(PLAN)
    assert backend.send_to_stack([packet]) == 0
    assert backend.statistics()[f"not_injected_{cause}"] == 1


def fragments(version: int, size: int, port: int = 5000) -> list[bytes]:
    """A datagram as the stack sends it when it is larger than a frame."""
    whole = datagram(bytes(size), version, port)
    header = 20 if version == 4 else 40
    found = []
    for at in range(0, len(whole) - header, 1440):
        payload = whole[header + at : header + at + 1440]
        more = at + len(payload) < len(whole) - header
        if version == 4:
            word = (at // 8 | (0x2000 if more else 0)).to_bytes(2, "big")
            head = bytearray(whole[:2] + (20 + len(payload)).to_bytes(2, "big") + b"\0\7" + word + whole[8:20])
            head[10:12] = bytes(2)
            head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
            found.append(bytes(head) + payload)
        else:
            length = (8 + len(payload)).to_bytes(2, "big")
            extension = bytes((17, 0)) + (at | more).to_bytes(2, "big") + bytes((0, 0, 0, 7))
            found.append(whole[:4] + length + bytes((44, 64)) + whole[8:40] + extension + payload)
    return found


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [1600, 9000, 60_000])
def test_a_datagram_that_the_stack_fragmented_is_captured_whole(
    backend: NdisApiBackend, host: EthernetHost, version: int, size: int
) -> None:
    backend.open(PLAN)
    pieces = fragments(version, size)
    for verdict in (Verdict.DROP, Verdict.PASS):
        for piece in pieces:
            host.stack_sends(piece)
        batch = backend.receive(PATIENCE)
        (whole,) = packets(batch)
        assert batch is not None
        found = read(whole)
        assert found is not None
        assert (found.source_port, len(found.payload)) == (5000, size)
        batch.verdict[0] = verdict
        backend.finish(batch)
        assert host.network_received() == (pieces if verdict else [])
    counted = backend.statistics()
    assert (counted["captured"], counted["passed"], counted["dropped"]) == (2, 1, 1)
    assert counted["queue_full"] == counted["fragments_lost"] == 0


def test_fragments_and_whole_packets_go_on_side_by_side(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    sent = []
    for number in range(20):
        sent += [*fragments(4, 3000, 6000 + number), datagram(b"%d" % number)]
    for packet in sent:
        host.stack_sends(packet)
    found: list[bytes] = []
    while len(found) < 40:
        batch = backend.receive(PATIENCE)
        found += packets(batch)
        assert batch is not None
        batch.verdict[:] = [Verdict.PASS] * len(batch)
        backend.finish(batch)
    assert sorted(host.network_received()) == sorted(sent)


def test_the_later_fragments_of_a_bypassed_flow_follow_the_first(backend: NdisApiBackend, host: EthernetHost) -> None:
    backend.open(PLAN)
    host.stack_sends(datagram(b"small"))
    take(backend, Verdict.BYPASS)
    pieces = fragments(4, 3000)
    for piece in pieces:
        host.stack_sends(piece)
    assert host.network_received()[1:] == pieces


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_that_the_stack_left_to_the_adapter_is_flagged(
    backend: NdisApiBackend, host: EthernetHost, version: int
) -> None:
    backend.open(PLAN)
    whole = datagram(b"payload", version)
    place = 26 if version == 4 else 46
    addresses = whole[12:20] if version == 4 else whole[8:40]
    words = addresses + (17).to_bytes(2, "big") + (15).to_bytes(2, "big")
    pseudo = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2)) % 65535
    partial = whole[:place] + pseudo.to_bytes(2, "big") + whole[place + 2 :]
    host.stack_sends(partial)
    host.stack_sends(whole)
    flags: list[int] = []
    found: list[bytes] = []
    while len(found) < 2:
        batch = backend.receive(PATIENCE)
        found += packets(batch)
        assert batch is not None
        flags += batch.flags
        backend.finish(batch)
    assert flags == [PacketFlag.CHECKSUM_PARTIAL, PacketFlag.NONE]
    assert found == [partial, whole]


# Anything.


KINDS = st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x08\x06"])
IP_STARTS = st.sampled_from([b"\x45", b"\x46", b"\x4f", b"\x60", b"\x00"])
frames = st.builds(
    lambda macs, kind, start, rest: (macs + kind + start + rest)[:1514],
    st.binary(min_size=12, max_size=12),
    KINDS,
    IP_STARTS,
    st.binary(max_size=80),
)
buffers = st.tuples(
    st.sampled_from([0, 1, 2, 3]),
    frames | st.binary(max_size=60),
    st.none() | st.sampled_from([0, 13, 1515, 2**32 - 1]),
    st.sampled_from([0, 7]),
)


@settings(deadline=None)
@given(st.lists(buffers, max_size=30), st.lists(st.sampled_from(Verdict), min_size=30, max_size=30))
def test_whatever_the_driver_gives_is_a_packet_or_counted(
    given_buffers: list[tuple[int, bytes, int | None, int]], verdicts: list[Verdict]
) -> None:
    emulator = Emulator()
    host = EthernetHost(emulator, ADAPTERS, default=("eth0",))
    backend = NdisApiBackend(host, emulator.open)
    backend.open(PLAN)
    plugged = host.networks["eth0"].plugged
    assert isinstance(plugged, EmulatedAdapter)
    for direction, frame, length, vlan in given_buffers:
        buffer = INTERMEDIATE_BUFFER(m_dwDeviceFlags=direction, m_8021q=vlan)
        buffer.m_Length = len(frame) if length is None else length
        buffer.m_IBuffer[: len(frame)] = frame
        plugged.queue(buffer)
    while batch := backend.receive(0.0):
        batch.verdict[:] = verdicts[: len(batch)]
        backend.finish(batch)
    counted = backend.statistics()
    assert counted["captured"] == counted["passed"] + counted["bypassed"] + counted["dropped"]
    other = ("truncated", "malformed", "not_ip", "foreign", "fragments_lost")
    assert counted["captured"] + sum(counted[name] for name in other) <= len(given_buffers)
    assert counted["not_passed"] == 0
    backend.close()


MACS = b"router", b"switch", b"nobody"
PLAIN = {"handle": 7, "direction": 1, "length": 1514, "tag": 0, "mac": b"router", "kind": b"\x08\x00", "field": 0x4000}
OTHERWISE = {
    "handle": st.integers(0, 2**64 - 1),
    "direction": st.sampled_from([0, 1, 2]),
    "length": st.sampled_from([0, 13, 14, 33, 34, 54, 1513, 1514, 1515, 2**32 - 1]),
    "tag": st.sampled_from([0, 1, 0x64_0003]),
    "mac": st.sampled_from(MACS),
    "kind": st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00"]),
    "field": st.one_of(st.integers(0, 0xFFFF), st.sampled_from([0x2000, 0x8000, 0xC000, 0x2C00, 0x0600])),
}
FRAMES = st.lists(
    st.one_of(st.just(PLAIN), st.sampled_from(sorted(OTHERWISE)).flatmap(
        lambda name: OTHERWISE[name].map(lambda value: PLAIN | {name: value})
    )),
    min_size=1,
    max_size=4,
)  # fmt: skip


@pytest.mark.skipif(NATIVE is None, reason=NOT_BUILT)
@settings(deadline=None)
@given(FRAMES)
def test_compiled_code_takes_the_same_blocks_for_ordinary(frames: list[dict[str, Any]]) -> None:
    from wiresock_py import _native

    block = PacketBlock(len(frames))
    for i, given_as in enumerate(frames):
        frame = given_as["mac"] + bytes(6) + given_as["kind"] + bytes(6) + given_as["field"].to_bytes(2, "big")
        block.put(i, frame + bytes(1514 - len(frame)), given_as["direction"], given_as["handle"], given_as["tag"])
        block.data[i * STRIDE + LENGTH_AT : i * STRIDE + LENGTH_AT + 4] = given_as["length"].to_bytes(4, "little")
    routers = frozenset(MACS[:2])
    expected = plain_lengths(block.data, STRIDE, routers)
    assert _native.plain_lengths(block.data, STRIDE, routers) == expected
    assert (expected is not None) or frames != [PLAIN] * len(frames)
