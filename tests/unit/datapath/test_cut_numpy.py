"""Segments made all at once are, byte for byte, those made one by one."""

import random
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from tests.support.traffic import IPV4, IPV6, Ends, batch_of, partial, session_pair, tunnelled
from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES
from wiresock_py.datapath import Classified, DatagramBuffer, FlowTable, classify, cut_numpy, seal
from wiresock_py.filters.base import PacketFlag

OPTIONS: dict[str, list[Any]] = {
    "none": [],
    "timestamps": [("NOP", None), ("NOP", None), ("Timestamp", (123456, 654321))],
    "many": [("NOP", None)] * 40,
}


def sealed(packet: bytes, ends: Ends, *, mtu: int, mss: int, counter: int, vectorized: bool) -> tuple[bytes, Any]:
    """All datagrams of a super-packet, sealed into a buffer that was in use before, and what was noted of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wiresock_py.datapath.vectorized.AVAILABLE", vectorized)
        flows = FlowTable()
        flow = tunnelled(flows, ends, socket.IPPROTO_TCP)
        flow.mss = mss
        session, _ = session_pair()
        session.counter = counter
        batch = batch_of([partial(packet)], PacketFlag.CHECKSUM_PARTIAL)
        classified, out = Classified(), DatagramBuffer(200_000)
        out.data[:] = b"\xee" * len(out.data)
        classify(batch, flows, 1.0, classified)
        [indices] = classified.tunnel.values()
        assert not seal(batch, indices, classified.flow, flows, session, mtu, 1.0, out)
        noted = out.runs, out.packets, session.counter, flow.packets_out, flow.bytes_out, out.drops
        return bytes(out.view[: out.end]), noted


@settings(max_examples=150, deadline=None)
@given(
    ends=st.sampled_from([IPV4, IPV6]),
    size=st.integers(1, 65_000) | st.integers(1, 40).map(lambda count: 1300 * count),
    mtu=st.sampled_from([1420, 1420, 1280, 1352, 1372, 1340, 1360]) | st.integers(1280, 1500),
    mss=st.sampled_from([0, 0, 901, 1000, 1001]),
    flags=st.text("FPEC", max_size=4),
    options=st.sampled_from(sorted(OPTIONS)),
    sequence=st.sampled_from([0, 1, 0xFFFF_0000, 0xFFFF_FFFF]) | st.integers(0, 0xFFFF_FFFF),
    identification=st.sampled_from([0, 0xFFF0, 0xFFFF]) | st.integers(0, 0xFFFF),
    counter=st.sampled_from([0, 2**32 - 3, 2**63 - 3, REJECT_AFTER_MESSAGES - 80]),
    fill=st.sampled_from([None, 0, 0xFF]),
)
def test_vectors_make_the_same_datagrams(
    ends: Ends,
    size: int,
    mtu: int,
    mss: int,
    flags: str,
    options: str,
    sequence: int,
    identification: int,
    counter: int,
    fill: int | None,
) -> None:
    payload = random.Random(size).randbytes(size) if fill is None else bytes([fill]) * size
    fields = {"id": identification, "flags": "DF"} if ends is IPV4 else {"tc": 8, "fl": 0x12345}
    header = TCP(sport=40000, dport=443, flags="A" + flags, seq=sequence, ack=99, options=OPTIONS[options])
    packet = bytes(ends.ip(**fields) / header / payload)
    pure, noted = sealed(packet, ends, mtu=mtu, mss=mss, counter=counter, vectorized=False)
    fast, fast_noted = sealed(packet, ends, mtu=mtu, mss=mss, counter=counter, vectorized=True)
    assert fast == pure
    assert fast_noted == noted


@pytest.mark.parametrize(("segments", "used"), [(3, False), (4, True), (47, True)])
def test_only_several_full_segments_are_worth_a_vector(
    segments: int, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(cut_numpy, "repeat", lambda _cut, whole, *_: calls.append(whole))
    packet = bytes(IPV4.ip() / TCP(sport=40000, dport=443, flags="A") / bytes(1380 * segments))
    sealed(packet, IPV4, mtu=1420, mss=0, counter=0, vectorized=True)
    assert calls == [segments] * used
