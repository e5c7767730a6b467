"""One captured or new packet, with memory of its own."""

from typing import Protocol

from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.packets import checked_length
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER


class Sender(Protocol):
    """Where packets go: NdisApi."""

    def send_to_adapter(self, packet: "Packet") -> None: ...

    def send_to_stack(self, packet: "Packet") -> None: ...


class Packet:
    """A packet; it may be kept as long as one likes, and sent as often. Not sending it drops it."""

    __slots__ = ("_sender", "raw")

    def __init__(self, sender: Sender, raw: INTERMEDIATE_BUFFER) -> None:
        self._sender = sender
        self.raw = raw
        """What the driver sees."""

    def __repr__(self) -> str:
        return f"<Packet {self.direction.name} of {len(self.frame)} bytes>"

    @property
    def direction(self) -> Direction:
        """SEND: this host's stack sent it; RECEIVE: it came from the network."""
        return Direction(self.raw.m_dwDeviceFlags)

    @property
    def adapter(self) -> int:
        """The handle of the adapter it belongs to; changing it sends the packet by another one."""
        return int(self.raw.m_hAdapter)

    @adapter.setter
    def adapter(self, handle: int) -> None:
        self.raw.m_hAdapter = handle

    @property
    def frame(self) -> memoryview:
        """The Ethernet frame, to be read and changed in place.

        Assigning replaces it, also by one of another length. After a change all checksums must be right again; those of
        captured outgoing packets may never have been (offload).
        """
        return memoryview(self.raw.m_IBuffer).cast("B")[: self.raw.m_Length]

    @frame.setter
    def frame(self, frame: Buffer) -> None:
        length = checked_length(len(frame))
        memoryview(self.raw.m_IBuffer).cast("B")[:length] = bytes(frame)
        self.raw.m_Length = length

    @property
    def vlan(self) -> int:
        """The 802.1Q tag that NDIS keeps beside the frame, in the driver's own form; 0 for none."""
        return int(self.raw.m_8021q)

    @property
    def filter_id(self) -> int:
        """The static filter that redirected it, in the driver's own numbering."""
        return int(self.raw.m_FilterID)

    def send(self) -> None:
        """On its way, in the direction it was going."""
        if self.direction == Direction.SEND:
            self._sender.send_to_adapter(self)
        else:
            self._sender.send_to_stack(self)

    def send_back(self) -> None:
        """To where it came from: an answer to the stack, or back onto the network."""
        if self.direction == Direction.SEND:
            self._sender.send_to_stack(self)
        else:
            self._sender.send_to_adapter(self)
