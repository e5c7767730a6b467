"""The data path that tests are about: each implementation in turn, see ``tests/unit/datapath/conftest.py``."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from wiresock_py.crypto import Session
from wiresock_py.datapath import PYTHON, Classified, DatagramBuffer, DataPath, Flow, FlowTable, Opened
from wiresock_py.datapath.flows import random_ports
from wiresock_py.filters.base import PacketBatch
from wiresock_py.flow import FiveTuple

NOT_BUILT = "the native data path is not built"
"""Why a test is skipped: an omission, to be seen as one."""

_current = [PYTHON]


def use(path: DataPath) -> None:
    """Let *path* do what the functions here are asked for."""
    _current[0] = path


def current() -> DataPath:
    return _current[0]


def flow_table(capacity: int = 65_536, *, ports: Callable[[FiveTuple], Iterable[int]] = random_ports) -> FlowTable:
    return current().flow_table(capacity, ports=ports)


def datagram_buffer(capacity: int = 1 << 20) -> DatagramBuffer:
    return current().datagram_buffer(capacity)


def classify(batch: PacketBatch, flows: FlowTable, now: float, out: Classified) -> None:
    current().classify(batch, flows, now, out)


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
    """Seal, and do at once what is left to be done without a lock."""
    oversized = current().seal(batch, indices, flow, flows, session, mtu, now, out)
    out.encrypt()
    return oversized


def open_datagrams(
    buffer: bytearray | memoryview,
    segment_size: int,
    sessions: Mapping[int, Session],
    flows: FlowTable,
    now: float,
    out: Opened,
) -> None:
    current().open_datagrams(buffer, segment_size, sessions, flows, now, out)
