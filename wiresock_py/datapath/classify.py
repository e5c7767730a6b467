"""Sort a captured batch: what goes past the tunnel, what into it, what needs a closer look."""

from wiresock_py.datapath.batch import Classified
from wiresock_py.datapath.flows import FlowTable
from wiresock_py.filters.base import PacketBatch


def classify(batch: PacketBatch, flows: FlowTable, now: float, out: Classified) -> None:
    """Find each packet's flow and sort the batch into *out*, which is cleared first."""
    raise NotImplementedError
