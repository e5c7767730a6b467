"""The compiled data path (``native/``) behind the data path's face. Imported only where it was built.

Compiled is what a packet costs: look-up, translation, cutting, sums, encryption, merging. What is rare stays Python's,
and is the same code for both: packets without a flow or of no plain kind, the table's changes, connections that begin
and end.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import wiresock_py._native as _native  # "from … import" would not say that the module is missing: see choice.py
from wiresock_py.crypto import Ciphers, Session
from wiresock_py.datapath import merge, seal
from wiresock_py.datapath.batch import FIRST_CAPACITY, Classified, DatagramBuffer, Opened
from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.face import DataPath
from wiresock_py.datapath.flows import Flow, FlowTable, wire_key
from wiresock_py.datapath.headers import parse
from wiresock_py.filters.base import PacketBatch, PacketFlag
from wiresock_py.flow import FiveTuple, Route

_TRUNCATED = int(PacketFlag.TRUNCATED)

DROPS = (
    PacketDrop.DATAGRAM_SHORT,
    PacketDrop.DATAGRAM_TYPE,
    PacketDrop.UNKNOWN_SESSION,
    PacketDrop.COUNTER_LIMIT,
    PacketDrop.FORGED,
    PacketDrop.REPLAYED,
    PacketDrop.FOREIGN_SOURCE,
    PacketDrop.UNEXPECTED_SYN,
)
"""What the compiled ``open_datagrams`` counts, in its order."""


class NativeFlow(Flow, _native.FlowState):
    """A flow whose translation and activity lie where compiled code reaches them."""

    __slots__ = ("due", "inner", "key", "live", "owner", "route")

    def __new__(
        cls,
        key: FiveTuple,
        route: Route,
        now: float,
        *,
        peer: Hashable = None,
        inner: FiveTuple | None = None,
        owner: object = None,
    ) -> Self:
        """As :class:`Flow` says."""
        inner = inner or key
        flow = super().__new__(
            cls,
            key.protocol,
            route,
            now,
            peer,
            wire_key(key, outbound=True),
            wire_key(inner, outbound=True),
            wire_key(inner, outbound=False),
            wire_key(key, outbound=False),
        )
        flow.key = key
        flow.inner = inner
        flow.route = route
        flow.owner = owner
        flow.live = False
        flow.due = 0
        return flow

    if not TYPE_CHECKING:

        def __init__(self, *_: object, **__: object) -> None:
            pass


class NativeFlowTable(FlowTable):
    """A table of such flows."""

    flow = NativeFlow
    index = _native.FlowIndex


class NativeDatagramBuffer(DatagramBuffer):
    """Datagrams whose encryption waits until the caller's lock is let go."""

    __slots__ = ("sealing",)

    def __init__(self, capacity: int = FIRST_CAPACITY) -> None:
        super().__init__(capacity)
        self.sealing = _native.Sealing()

    def clear(self) -> None:
        DatagramBuffer.clear(self)
        self.sealing.clear()

    def encrypt(self) -> None:
        """Translate, cut and encrypt what was planned, without the interpreter's lock."""
        self.sealing.encrypt(self.view)


def classify(batch: PacketBatch, flows: FlowTable, now: float, out: Classified) -> None:
    """As :func:`wiresock_py.datapath.classify.classify`."""
    out.clear()
    unknown = _native.classify(
        batch.data,
        batch.offset,
        batch.length,
        batch.flags,
        batch.verdict,
        flows.outbound4,
        flows.outbound6,
        now,
        out.tunnel,
        out.flow,
        out.blocked,
    )
    if out.blocked:
        out.drops[PacketDrop.BLOCKED] += len(out.blocked)
    for i in unknown:
        start = batch.offset[i]
        truncated = batch.flags[i] & _TRUNCATED
        header = PacketDrop.TRUNCATED if truncated else parse(batch.data[start : start + batch.length[i]])
        if isinstance(header, PacketDrop):
            out.drops[header] += 1
        else:
            out.slow.append(i)


def seal_batch(
    batch: PacketBatch,
    indices: Sequence[int],
    flow: Sequence[Flow | None],
    flows: FlowTable,
    session: Session,
    mtu: int,
    now: float,
    out: DatagramBuffer,
) -> list[int]:
    """As :func:`wiresock_py.datapath.seal.seal`; what takes time is left to ``out.encrypt()``."""
    assert isinstance(out, NativeDatagramBuffer)
    planned = out.sealing.plan(
        batch.data,
        batch.offset,
        batch.length,
        batch.flags,
        indices,
        flow,
        session.sealer,
        session.header,
        session.counter,
        mtu,
        now,
        out.end,
        out.room,
        out.runs,
        flows,
        seal.track_outbound,
    )
    if planned is None:  # a packet among them is not of the plain kind
        return seal.seal(batch, indices, flow, flows, session, mtu, now, out)
    end, packets, out.room, session.counter, oversized, corrupt, exhausted = planned
    if end > len(out.data):
        out.reserve(end - out.end)
    out.end = end
    out.packets += packets
    if corrupt:
        out.drops[PacketDrop.BAD_CHECKSUM] += corrupt
    if exhausted:
        out.drops[PacketDrop.COUNTER_EXHAUSTED] += exhausted
    return oversized


def open_datagrams(
    buffer: bytearray | memoryview,
    segment_size: int,
    sessions: Mapping[int, Session],
    flows: FlowTable,
    now: float,
    out: Opened,
) -> None:
    """As :func:`wiresock_py.datapath.open.open_datagrams`."""
    view = memoryview(buffer)
    assert isinstance(sessions, dict)
    counts, left = _native.open_datagrams(
        view,
        segment_size or len(view) or 1,
        sessions,
        flows.inbound4,
        flows.inbound6,
        now,
        out.largest,
        merge.MAX_PIECES,
        flows,
        out.packets,
        out.control,
        out.received,
    )
    for number, count in counts:
        out.drops[DROPS[number]] += count
    for session, packet in left:
        header = parse(packet)
        if isinstance(header, PacketDrop):
            out.drops[header] += 1
        else:
            out.slow.append((session, packet[: header.length]))


NATIVE = DataPath(
    "native",
    True,
    Ciphers(_native.Sealer, _native.Opener, _native.ReplayWindow),
    NativeFlowTable,
    NativeDatagramBuffer,
    classify,
    seal_batch,
    open_datagrams,
)
