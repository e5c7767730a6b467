"""Both data paths side by side: the same flows, sessions and bytes for each, and all that it made of them."""

import socket
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from tests.support.traffic import IPV4, IPV6, OTHER_PEER, PEER, Ends, address, datagrams, flagged_batch, joined
from wiresock_py.crypto import Session
from wiresock_py.datapath import NATIVE, PYTHON, Classified, DataPath, Flow, FlowTable, Opened
from wiresock_py.flow import FiveTuple, Route

PORTS = (1000, 1001)
"""Of tunnelled flows; 1002 is direct, 1003 blocked, 1004 unknown."""
KEYS = bytes(range(32)), bytes(range(32, 64))


def table(path: DataPath) -> tuple[FlowTable, list[Flow]]:
    """Every kind of flow, in both families."""
    flows = path.flow_table(ports=lambda _: [50_000, 50_001])
    known = []
    for ends in (IPV4, IPV6):
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            for port in PORTS:
                peer = PEER if port == PORTS[0] else OTHER_PEER
                known.append(add(flows, ends.key(protocol, port), peer, ends))
            known.append(flows.add(ends.key(protocol, 1002), Route.DIRECT, 0.0))
            known.append(flows.add(ends.key(protocol, 1003), Route.BLOCK, 0.0))
        for local in (ends.host, ends.second):  # the second one gets another identifier in the tunnel
            known.append(add(flows, FiveTuple(ends.icmp, address(local), 7, address(ends.server), 0), PEER, ends))
    return flows, known


def add(flows: FlowTable, key: FiveTuple, peer: Hashable, ends: Ends) -> Flow:
    return flows.add(key, Route.TUNNEL, 0.0, peer=peer, local=address(ends.tunnel))


def session(path: DataPath, peer: Any, index: int) -> Session:
    ciphers = path.ciphers
    return Session(
        peer, local_index=index, remote_index=index + 1,
        sending_key=KEYS[0], receiving_key=KEYS[1], initiator=True, created=0.0, ciphers=ciphers,
    )  # fmt: skip


def state(flow: Flow) -> tuple[object, ...]:
    """All that a data path may change of a flow."""
    return (
        str(flow.key), flow.inner, flow.live, flow.due, flow.mss, flow.mtu, flow.last_out, flow.last_in,
        flow.packets_out, flow.bytes_out, flow.packets_in, flow.bytes_in,
        flow.state, flow.initial_sequence, flow.sequence, flow.acknowledged,
    )  # fmt: skip


def equal(measure: Callable[[DataPath], dict[str, object]]) -> None:
    """Both data paths give the same."""
    assert NATIVE is not None
    expected, found = measure(PYTHON), measure(NATIVE)
    for name, value in expected.items():
        assert found[name] == value, name


def leaving(
    path: DataPath,
    batches: Sequence[Sequence[tuple[bytes, int]]],
    *,
    mtu: int,
    mss: int,
    counter: int,
    everything: bool,
) -> dict[str, object]:
    """Classify and seal batches of packets with their flags; *everything*: also those of no known flow."""
    flows, known = table(path)
    for flow in known:
        flow.mss = mss
    sessions = {peer: session(path, peer, index) for index, peer in enumerate((PEER, OTHER_PEER))}
    for one in sessions.values():
        one.counter = counter
    found, out = Classified(), path.datagram_buffer(16)
    seen: list[object] = []
    for now, packets in enumerate(batches, 1):
        batch = flagged_batch(packets)
        path.classify(batch, flows, now / 2, found)
        seen.append((
            {peer.name: indices for peer, indices in found.tunnel.items()},  # type: ignore[attr-defined]
            [flow and str(flow.key) for flow in found.flow], found.blocked, found.slow, batch.verdict,
        ))  # fmt: skip
        out.clear()
        for peer, indices in found.tunnel.items():
            seen.append(path.seal(batch, indices, found.flow, flows, sessions[peer], mtu, now / 2, out))
        if everything and found.slow:  # as the engine does with packets whose flow it found by itself
            every = [known[len(known) // 2 if data[:1] >= b"\x60" else 0] for data, _ in packets]
            seen.append(path.seal(batch, found.slow, every, flows, sessions[PEER], mtu, now / 2, out))
        out.encrypt()
        seen.append((datagrams(out), out.runs[:], out.end, out.packets, out.drops.copy()))
    return {
        "batches": seen,
        "drops": found.drops + out.drops,
        "counters": [one.counter for one in sessions.values()],
        "flows": [state(flow) for flow in known],
    }


def arriving(
    path: DataPath, buffers: Sequence[bytearray], step: int, *, opening: bool, largest: int
) -> dict[str, object]:
    """Open buffers of datagrams, one every *step* bytes; *opening*: while the flows' connections are being made."""
    flows, known = table(path)
    if opening:
        for flow in known:
            flow.state, flow.mtu = 1, 1400
    sessions = {index: session(path, peer, index) for index, peer in enumerate((PEER, OTHER_PEER))}
    out = Opened()
    out.largest = largest
    for now, buffer in enumerate(buffers, 1):
        path.open_datagrams(buffer[:], step, sessions, flows, float(now), out)
    return {
        "packets": joined(out),
        "control": out.control,
        "received": [(one.local_index, *row) for one, *row in out.received],
        "slow": [(one.local_index, packet) for one, packet in out.slow],
        "drops": out.drops,
        "flows": [state(flow) for flow in known],
        "windows": [
            (one.replay.greatest, [one.replay.check(counter) for counter in range(300)]) for one in sessions.values()
        ],
    }
