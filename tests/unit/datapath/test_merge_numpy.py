"""What is merged all at once is what would be merged segment by segment, whatever else is in the buffer."""

import random
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP, UDP

from tests.support.traffic import IPV4, IPV6, OTHER_PEER, PEER, Ends, joined, session_pair, tunnelled
from wiresock_py.datapath import FlowTable, Opened, merge, open_datagrams
from wiresock_py.datapath.merge_numpy import Chains

PORTS = (1, 2)
TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (123, 456))]


class Stream:
    """What a server sends on one connection: headers that stay, numbers that grow."""

    def __init__(self, ends: Ends, port: int, sequence: int, options: list[Any]) -> None:
        self.ends, self.port, self.sequence = ends, port, sequence
        self.fields: dict[str, Any] = {"flags": "A", "ack": 7, "window": 500, "options": options}
        self.ip: dict[str, Any] = {}
        self.identification = 0xFFF0
        self.repetitive = False  # the same bytes in every segment

    def segment(self, size: int, once: dict[str, Any] | None = None) -> bytes:
        payload = bytes(range(size)) if self.repetitive else random.Random(self.sequence).randbytes(size)
        header = TCP(sport=443, dport=self.port, seq=self.sequence, **self.fields | (once or {}))
        self.sequence = (self.sequence + size) & 0xFFFFFFFF
        self.identification = (self.identification + 1) & 0xFFFF
        ip = self.ip | ({"id": self.identification} if self.ends is IPV4 else {})
        return bytes(self.ends.ip(self.ends.server, self.ends.tunnel, **ip) / header / payload)

    def not_ours(self, kind: str, size: int) -> bytes:
        """A packet of *size* bytes that is not a segment of this stream."""
        if kind == "udp":
            header = UDP(sport=443, dport=self.port)
            return bytes(self.ends.ip(self.ends.server, self.ends.tunnel) / header)
        if kind == "other family":
            return Stream(IPV6 if self.ends is IPV4 else IPV4, self.port, self.sequence, []).segment(size - 60)
        return random.Random(self.sequence).randbytes(size)


# What may be odd about the last segment of a burst: its headers, ...
ONCE: dict[str, dict[str, Any]] = {
    "push": {"flags": "PA"},
    "urgent pointer": {"urgptr": 5},
    "finish": {"flags": "FA"},
    "reset": {"flags": "RA"},
    "congestion": {"flags": "EA"},
}
# ... all headers from then on, ...
FROM_NOW_ON: dict[str, dict[str, Any]] = {
    "acknowledgment": {"ack": 8},
    "window": {"window": 400},
    "options": {"options": [("NOP", None), ("NOP", None), ("Timestamp", (124, 456))]},
}
IP_FROM_NOW_ON: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "type of service": ({"tos": 1}, {"tc": 1}),
    "hop limit": ({"ttl": 9}, {"hlim": 9}),
    "fragment field": ({"flags": "DF"}, {"fl": 1}),
}
# ... its size, ...
SHORTER = {"shorter": 2, "odd": 1, "lost": 0, "swapped": 0, "forged": 0, "replayed": 0}
# ... who sends it, or what stands in its place.
SENDERS = {"other peer": 5, "unknown session": 9}
INSTEAD = ["udp", "other family", "garbage"]
MESSAGES = {"no message": 0, "handshake": 2}
ODDITIES = ["none", "empty", *ONCE, *FROM_NOW_ON, *IP_FROM_NOW_ON, *SHORTER, *SENDERS, *INSTEAD, *MESSAGES]


class Network:
    """Equal datagrams one behind the other, as the kernel hands them over."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.datagrams: list[bytearray] = []
        self.sessions = {
            index: session_pair(peer, near_index=index, far_index=6)[1]
            for index, peer in ((1, PEER), (5, OTHER_PEER), (9, PEER))
        }

    def send(self, plain: bytes, index: int = 1) -> None:
        datagram = bytearray(self.size + 32)
        self.sessions[index].seal_into(plain.ljust(self.size, b"\0"), datagram)
        self.datagrams.append(datagram)

    def burst(self, stream: Stream, count: int, payload: int, oddity: str) -> None:
        """*count* segments of *stream*, of which the last is odd."""
        for _ in range(count - 1):
            self.send(stream.segment(payload))
        stream.fields = stream.fields | FROM_NOW_ON.get(oddity, {})
        stream.ip = stream.ip | IP_FROM_NOW_ON.get(oddity, ({}, {}))[stream.ends is IPV6]
        if oddity in MESSAGES:
            self.datagrams.append(bytearray([MESSAGES[oddity]]) + bytes(self.size + 31))
        elif oddity in INSTEAD:
            self.send(stream.not_ours(oddity, payload))
        else:
            size = 0 if oddity == "empty" else payload - SHORTER.get(oddity, 0)
            self.send(stream.segment(size, ONCE.get(oddity)), SENDERS.get(oddity, 1))
        if oddity == "lost":
            self.datagrams.pop()
        elif oddity == "swapped":
            self.datagrams[-2:] = self.datagrams[:-3:-1]
        elif oddity == "forged":
            self.datagrams[-1][-5] ^= 1
        elif oddity == "replayed":
            self.datagrams.append(self.datagrams[-1][:])

    @property
    def received(self) -> bytearray:
        return bytearray().join(self.datagrams)


def opened(buffer: bytearray, stride: int, flow_ends: list[Ends], *, vectorized: bool) -> dict[str, Any]:
    """Everything that can be seen of opening *buffer*."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wiresock_py.datapath.vectorized.AVAILABLE", vectorized)
        flows = FlowTable()
        known = [tunnelled(flows, ends, socket.IPPROTO_TCP, port=port) for ends in flow_ends for port in PORTS]
        near, _ = session_pair()
        other, _ = session_pair(OTHER_PEER, near_index=5, far_index=6)
        sessions = {1: near, 5: other}
        out = Opened()
        open_datagrams(buffer[:], stride, sessions, flows, 3.0, out)
    return {
        "packets": joined(out),
        "pieces": [[len(piece) for piece in packet] for packet in out.packets],
        "control": out.control,
        "received": [(session.local_index, *row) for session, *row in out.received],
        "slow": [(session.local_index, packet) for session, packet in out.slow],
        "drops": dict(out.drops),
        "flows": [(flow.packets_in, flow.bytes_in, flow.last_in, flow.state) for flow in known],
        "greatest": [session.replay.greatest for session in sessions.values()],
    }


@settings(max_examples=80, deadline=None)
@given(
    ends=st.sampled_from([IPV4, IPV6]),
    bursts=st.lists(
        st.tuples(st.sampled_from([0, 0, 0, 1, 2]), st.integers(1, 25), st.sampled_from(ODDITIES)),
        min_size=1,
        max_size=8,
    ),
    payload=st.sampled_from([1300, 1300, 100, 101, 64]),
    padding=st.sampled_from([80, 92, 93]),
    options=st.sampled_from([[], TIMESTAMPS]),
    sequence=st.sampled_from([0, 0xFFFF_F000, 0xFFFF_FFFF]),
    short=st.sampled_from([0, 1, 60]) | st.integers(0, 1500),
)
def test_vectors_merge_what_would_be_merged_one_by_one(
    ends: Ends,
    bursts: list[tuple[int, int, str]],
    payload: int,
    padding: int,
    options: list[Any],
    sequence: int,
    short: int,
) -> None:
    streams = [Stream(ends, port, sequence, options) for port in (*PORTS, 3)]  # no flow knows of the third
    network = Network(payload + padding)
    for stream, count, oddity in bursts:
        network.burst(streams[stream], count, payload, oddity)
    buffer, stride = network.received, network.size + 32
    del buffer[len(buffer) - short % stride :]
    pure = opened(buffer, stride, [IPV4, IPV6], vectorized=False)
    assert opened(buffer, stride, [IPV4, IPV6], vectorized=True) == pure


@pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_vectors_stop_where_merging_one_by_one_does(ends: Ends, oddity: str) -> None:
    stream = Stream(ends, 1, 0, TIMESTAMPS)
    network = Network(192)
    network.burst(stream, 12, 100, oddity)
    network.burst(stream, 12, 100, "none")
    pure = opened(network.received, 224, [IPV4, IPV6], vectorized=False)
    assert opened(network.received, 224, [IPV4, IPV6], vectorized=True) == pure


def test_a_shorter_last_datagram_is_merged_as_ever() -> None:
    stream, network = Stream(IPV4, 1, 0, TIMESTAMPS), Network(152)
    network.burst(stream, 20, 100, "none")
    shorter = Network(112)
    shorter.sessions[1].counter = 20
    shorter.burst(stream, 1, 60, "none")
    buffer = network.received + shorter.received
    pure = opened(buffer, 184, [IPV4], vectorized=False)
    assert [sum(pieces) for pieces in pure["pieces"]] == [52 + 20 * 100 + 60]
    assert opened(buffer, 184, [IPV4], vectorized=True) == pure


def test_payload_is_not_taken_for_headers_where_another_flow_has_longer_ones() -> None:
    network = Network(152)
    for port, options in ((1, TIMESTAMPS), (2, [])):
        stream = Stream(IPV4, port, 0, options)
        stream.repetitive = True
        network.burst(stream, 20, 100, "none")
    pure = opened(network.received, 184, [IPV4], vectorized=False)
    assert [len(pieces) for pieces in pure["pieces"]] == [20, 20]
    assert opened(network.received, 184, [IPV4], vectorized=True) == pure


@pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("options", [[], TIMESTAMPS, [("NOP", None)] * 40], ids=["none", "timestamps", "many"])
def test_a_whole_buffer_of_a_flow_is_merged_in_one_step(
    ends: Ends, options: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    extend = Chains.extend

    def noted(chains: Chains, run: merge.TcpRun, first: int) -> int:
        steps.append(extend(chains, run, first))
        return steps[-1]

    monkeypatch.setattr(Chains, "extend", noted)
    network = Network(1301)
    network.burst(Stream(ends, 1, 0xFFFF_F000, options), 40, 1200, "none")
    result = opened(network.received, 1333, [ends], vectorized=True)
    assert [len(pieces) for pieces in result["pieces"]] == [40]
    assert steps == [39]


def test_a_run_taken_all_at_once_has_no_more_pieces_than_one_system_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "MAX_PIECES", 16)
    network = Network(140)
    network.burst(Stream(IPV4, 1, 0, []), 40, 100, "none")
    pure = opened(network.received, 172, [IPV4], vectorized=False)
    assert [len(pieces) for pieces in pure["pieces"]] == [16, 16, 8]
    assert opened(network.received, 172, [IPV4], vectorized=True) == pure


def test_no_run_taken_all_at_once_is_larger_than_a_packet_may_be() -> None:
    network = Network(1408)
    network.burst(Stream(IPV4, 1, 0, []), 60, 1368, "push")
    pure = opened(network.received, 1440, [IPV4], vectorized=False)
    assert len(pure["pieces"]) == 2
    assert opened(network.received, 1440, [IPV4], vectorized=True) == pure
