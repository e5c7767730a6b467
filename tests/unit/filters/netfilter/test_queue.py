"""NFQUEUE messages, without a kernel; what the kernel makes of them is in test_backend.py and tests/backends."""

import socket
import struct
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

assert sys.platform == "linux"

from tests.support.datapaths import NOT_BUILT
from wiresock_py.datapath import NATIVE
from wiresock_py.filters import PacketBatch, PacketFlag, Verdict
from wiresock_py.filters.netfilter import queue
from wiresock_py.filters.netfilter.queue import VerdictWriter, parse_packet
from wiresock_py.netlink import HEADER, attribute, attributes, messages

BYPASS_MARK = 0x2000_0000


def packet_message(*parts: bytes, kind: int = queue.PACKET) -> bytes:
    body = struct.pack("!BBH", 2, 0, 10) + b"".join(parts)
    return HEADER.pack(HEADER.size + len(body), kind, 0, 0, 0) + body


def number(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(4, "big"))


def header(identifier: int, hook: int = 3) -> bytes:
    return attribute(queue.NFQA_PACKET_HDR, struct.pack("!IHB", identifier, 0x0800, hook))


def test_a_packet_message_is_read() -> None:
    message = packet_message(
        header(77),
        number(queue.NFQA_IFINDEX_OUTDEV, 5),
        number(queue.NFQA_MARK, 0x1234),
        attribute(99, b"unknown to us"),
        attribute(queue.NFQA_PAYLOAD, b"E" + bytes(40)),
    )
    parsed = parse_packet(memoryview(b"before__" + message + b"after"), 8, 8 + len(message))
    assert parsed is not None
    token, flags, adapter, offset, length = parsed
    assert (token & 0xFFFF_FFFF, token >> 32) == (77, 0x1234)
    assert (flags, adapter, length) == (0, 5, 41)
    assert (b"before__" + message)[offset] == ord("E")


def test_another_machines_packet_is_told_by_the_hook_it_was_queued_at() -> None:
    came_by = number(5, 7)  # NFQA_IFINDEX_INDEV
    parts = (number(queue.NFQA_IFINDEX_OUTDEV, 5), attribute(queue.NFQA_PAYLOAD, bytes(20)))
    for hook, flags in ((queue.NF_INET_FORWARD, PacketFlag.FORWARDED), (3, PacketFlag.NONE)):
        for rest in ((came_by, *parts), parts):
            message = packet_message(header(1, hook), *rest)
            parsed = parse_packet(memoryview(message), 0, len(message))
            assert parsed is not None
            assert parsed[1] == flags


def test_a_hook_beyond_the_message_is_none_of_it() -> None:
    message = struct.pack("=HHI", 11, queue.NFQA_PACKET_HDR, 1)
    data = memoryview(packet_message(message) + bytes((0, 0, queue.NF_INET_FORWARD)))
    assert parse_packet(data, 0, len(data) - 3) == (socket.ntohl(1), PacketFlag.TRUNCATED, 0, 0, 0)


@pytest.mark.parametrize(
    ("info", "flags"),
    [
        (0, PacketFlag.NONE),
        (1, PacketFlag.CHECKSUM_PARTIAL),
        (2, PacketFlag.SUPER_PACKET),
        (3, PacketFlag.CHECKSUM_PARTIAL | PacketFlag.SUPER_PACKET),
        (4, PacketFlag.NONE),
    ],
)
def test_offloads_are_flagged(info: int, flags: PacketFlag) -> None:
    message = packet_message(header(1), number(queue.NFQA_SKB_INFO, info), attribute(queue.NFQA_PAYLOAD, bytes(20)))
    parsed = parse_packet(memoryview(message), 0, len(message))
    assert parsed is not None
    assert parsed[1] == flags


@pytest.mark.parametrize("info", [None, 1, 2, 3])
@pytest.mark.parametrize("size", [20, 21, 1400, 65_000])
def test_the_usual_message_reads_as_any_other(info: int | None, size: int) -> None:
    parts = [header(0x0102_0304), number(queue.NFQA_IFINDEX_OUTDEV, 0x0506)]
    if info is not None:
        parts.append(number(queue.NFQA_SKB_INFO, info))
    payload = struct.pack("=HH", 4 + size, queue.NFQA_PAYLOAD) + b"E" * size  # the kernel does not pad the last
    data = memoryview(bytes(8) + packet_message(*parts, payload))
    end = 8 + len(packet_message(*parts, payload))
    parsed = parse_packet(data, 8, end)
    assert parsed == queue._parse_any(data, 8, end)
    assert parsed is not None
    token, flags, adapter, offset, length = parsed
    assert (token, flags, adapter, length) == (0x0102_0304, info or 0, 0x0506, size)
    assert bytes(data[offset : offset + length]) == b"E" * size


def test_a_packet_that_was_cut_is_flagged() -> None:
    message = packet_message(
        header(1), number(queue.NFQA_CAP_LEN, 65_535), attribute(queue.NFQA_PAYLOAD, bytes(65_528))
    )
    parsed = parse_packet(memoryview(message), 0, len(message))
    assert parsed is not None
    assert (parsed[1], parsed[4]) == (PacketFlag.TRUNCATED, 65_528)


def test_a_packet_without_bytes_is_flagged() -> None:
    message = packet_message(header(1))
    assert parse_packet(memoryview(message), 0, len(message)) == (1, PacketFlag.TRUNCATED, 0, 0, 0)


def test_a_message_that_names_no_packet_is_none() -> None:
    message = packet_message(attribute(queue.NFQA_PAYLOAD, bytes(20)))
    assert parse_packet(memoryview(message), 0, len(message)) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise_or_point_outside(data: bytes) -> None:
    parsed = parse_packet(memoryview(data), 0, len(data))
    if parsed is not None:
        _token, _flags, _adapter, offset, length = parsed
        assert 0 <= offset <= offset + length <= len(data)


def filled(sent: list[bytes], *, compiled: bool) -> tuple[object, ...]:
    """What a queue makes of these messages, all of it."""
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with there, here:
        here.setblocking(False)
        for message in sent:
            there.send(message)
        opened = queue.Queue(1, BYPASS_MARK, gso=True, compiled=compiled)
        opened._socket = here
        batch = PacketBatch(memoryview(bytearray(3 * queue.LARGEST_MESSAGE)))
        end = opened.fill(batch, 8, len(batch.data), 4)
        columns = batch.offset, batch.length, batch.flags, batch.adapter, batch.token
        return end, columns, opened.refused, opened.truncated, bytes(batch.data)


MESSAGES = st.lists(
    st.one_of(
        st.sampled_from([
            header(7),
            attribute(queue.NFQA_PAYLOAD, b"E" + bytes(40)),
            attribute(queue.NFQA_PAYLOAD, b""),
            *(number(kind, 0x1203) for kind in (queue.NFQA_IFINDEX_OUTDEV, queue.NFQA_MARK, queue.NFQA_SKB_INFO)),
            number(queue.NFQA_CAP_LEN, 1),
        ]),
        st.binary(max_size=12),
    ),
    max_size=6,
).map(lambda parts: packet_message(*parts))  # fmt: skip


@pytest.mark.skipif(NATIVE is None, reason=NOT_BUILT)
@given(st.lists(MESSAGES | st.binary(min_size=20, max_size=90), max_size=6))
def test_compiled_code_reads_a_queue_as_python_does(sent: list[bytes]) -> None:
    assert filled(sent, compiled=True) == filled(sent, compiled=False)


class Kernel:
    """nfnetlink_queue as far as verdicts go: holds packets in order of their ids, releases them as it is told."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.held = [token & 0xFFFF_FFFF for token in tokens]
        self.dropped: list[int] = []
        self.passed: list[tuple[int, int | None]] = []

    def take(self, datagram: bytes) -> int:
        count = 0
        for kind, _sequence, body in messages(datagram):
            count += 1
            assert int.from_bytes(body[2:4], "big") == 10, "the queue's number"
            found = attributes(body, 4)
            verdict, identifier = struct.unpack("!II", found[queue.NFQA_VERDICT_HDR])
            mark = int.from_bytes(found[queue.NFQA_MARK], "big") if queue.NFQA_MARK in found else None
            if kind == queue.VERDICT:
                released = [identifier]
                assert identifier in self.held, "ENOENT"
            else:
                assert kind == queue.VERDICT_BATCH
                # Ids wrap around: after means less than half of all ids ahead (nfq_id_after).
                released = [i for i in self.held if (identifier - i) & 0xFFFF_FFFF < 1 << 31]
                assert released, "ENOENT"
            self.held = [i for i in self.held if i not in released]
            if verdict == queue.NF_DROP:
                self.dropped += released
            else:
                self.passed += [(i, mark) for i in released]
        return count


verdicts = st.sampled_from([int(Verdict.DROP), int(Verdict.PASS), int(Verdict.BYPASS)])
marks = st.sampled_from([0, 0, 0, 1, 0x4321])


@given(
    st.lists(st.tuples(verdicts, marks, st.integers(1, 3)), min_size=1, max_size=40),
    st.sampled_from([1, 1000, (1 << 32) - 20]),
)
def test_every_packet_gets_its_verdict_and_those_that_pass_keep_their_order(
    rows: list[tuple[int, int, int]], first: int
) -> None:
    tokens: list[int] = []
    identifier = first
    for _verdict, mark, gap in rows:  # a gap is a packet the kernel could not hand over
        identifier = (identifier + gap) & 0xFFFF_FFFF
        tokens.append(identifier | mark << 32)
    kernel = Kernel(tokens)
    decided = [verdict for verdict, _mark, _gap in rows]
    count = kernel.take(VerdictWriter(10, BYPASS_MARK).write(tokens, decided))

    assert kernel.held == []
    ids = [token & 0xFFFF_FFFF for token in tokens]
    assert sorted(kernel.dropped) == sorted(i for i, v in zip(ids, decided, strict=True) if v == Verdict.DROP)
    assert kernel.passed == [
        (i, mark | BYPASS_MARK if verdict == Verdict.BYPASS else None)
        for i, (verdict, mark, _gap) in zip(ids, rows, strict=True)
        if verdict != Verdict.DROP
    ]
    assert count <= len(rows) + 1


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_batch_of_one_verdict_takes_one_message(verdict: Verdict) -> None:
    tokens = list(range(1, 101))
    kernel = Kernel(tokens)
    assert kernel.take(VerdictWriter(10, BYPASS_MARK).write(tokens, [verdict] * 100)) == 1
    assert kernel.held == []


def test_single_packets_that_pass_among_dropped_ones_take_one_message_each_and_one_for_the_rest() -> None:
    tokens = list(range(1, 10))
    decided = [Verdict.PASS if i % 3 == 0 else Verdict.DROP for i in tokens]
    assert Kernel(tokens).take(VerdictWriter(10, BYPASS_MARK).write(tokens, decided)) == 4
