"""From received datagrams to packets for the host's stack: decrypt in place, translate back, merge."""

from collections.abc import Mapping

from wiresock_py.datapath.batch import Opened, Session
from wiresock_py.datapath.flows import FlowTable
from wiresock_py.filters.base import Buffer


def open_datagrams(
    buffer: bytearray | memoryview,
    segment_size: int,
    sessions: Mapping[int, Session],
    flows: FlowTable,
    now: float,
    out: Opened,
) -> None:
    """Open the datagrams in *buffer*, *segment_size* bytes each but the last (0: there is only one), appending to *out*.

    *buffer* is written to (plain text takes the place of cipher text) and belongs to ``out.packets`` until the caller
    has handed those on.
    """
    raise NotImplementedError
