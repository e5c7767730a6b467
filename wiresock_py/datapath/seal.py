"""From captured packets to sealed datagrams: translate, cut, pad, encrypt in place."""

from collections.abc import Sequence

from wiresock_py.datapath.batch import DatagramBuffer, Session
from wiresock_py.datapath.flows import Flow, FlowTable
from wiresock_py.filters.base import PacketBatch


def seal(
    batch: PacketBatch,
    indices: Sequence[int],
    flow: Sequence[Flow | None],
    flows: FlowTable,
    session: Session,
    mtu: int,
    now: float,
    out: DatagramBuffer,
) -> list[int]:
    """Append the sealed packets *indices* of *batch* to *out*; returns those larger than *mtu* that may not be cut."""
    raise NotImplementedError


def translate_batch(
    batch: PacketBatch, indices: Sequence[int], flow: Sequence[Flow | None], flows: FlowTable, mtu: int, now: float
) -> tuple[list[bytes], list[int]]:
    """The same packets in plain text, for staging while there is no session, and the oversized indices."""
    raise NotImplementedError
