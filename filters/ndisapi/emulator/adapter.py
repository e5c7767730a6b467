"""An emulated adapter: what the driver knows of it, and the test's hands at both of its ends."""

from collections import deque
from typing import Protocol

from wiresock_py.filters.base import Buffer
from wiresock_py.filters.ndisapi.raw.constants import PACKET_FLAG_ON_RECEIVE, PACKET_FLAG_ON_SEND
from wiresock_py.filters.ndisapi.raw.structures import INTERMEDIATE_BUFFER, RAS_LINK_INFO


class Path(Protocol):
    """What the driver does with a frame that comes by."""

    def frame(self, adapter: "EmulatedAdapter", content: bytes, direction: int, vlan: int) -> None: ...

    def looped_back(self, adapter: "EmulatedAdapter", content: bytes) -> None: ...

    def queue(self, adapter: "EmulatedAdapter", queued: bytes) -> None: ...


class EmulatedAdapter:
    """One adapter: ``stack_sends`` and ``network_sends`` play host and network, ``…_received`` see the result.

    ``oids`` answers NDIS queries and ``ras_links`` those for dial-up links; both may be changed at any time.
    """

    def __init__(
        self, path: Path, handle: int, name: str, friendly_name: str, mac: bytes, mtu: int, medium: int
    ) -> None:
        self._path = path
        self.handle = handle
        self.name = name
        self.friendly_name = friendly_name
        self.mac = mac
        self.mtu = mtu
        self.medium = medium
        self.mode = 0
        self.event = 0
        self.hardware_filter_event = 0
        self.oids: dict[int, bytes] = {}
        self.ras_links: list[RAS_LINK_INFO] = []
        self.entries: deque[bytes] = deque()
        """Queued packets: INTERMEDIATE_BUFFER from behind m_hAdapter, as far as the frame goes."""
        self._network: deque[bytes] = deque()
        self._stack: deque[bytes] = deque()

    def stack_sends(self, frame: Buffer, vlan: int = 0) -> None:
        """The host's stack sends a frame; *vlan* is the tag NDIS keeps beside it."""
        self._path.frame(self, bytes(frame), PACKET_FLAG_ON_SEND, vlan)

    def network_sends(self, frame: Buffer, vlan: int = 0) -> None:
        """A frame arrives from the network."""
        self._path.frame(self, bytes(frame), PACKET_FLAG_ON_RECEIVE, vlan)

    def loops_back(self, frame: Buffer) -> None:
        """NDIS loops a frame back that the host sent on this adapter."""
        self._path.looped_back(self, bytes(frame))

    def queue(self, buffer: INTERMEDIATE_BUFFER) -> None:
        """Queue this buffer as it is, whatever it says of itself: what no sound driver does."""
        self._path.queue(self, bytes(buffer)[8:])

    def network_received(self) -> list[bytes]:
        """Take the frames that left the host."""
        return _take(self._network)

    def stack_received(self) -> list[bytes]:
        """Take the frames that reached the host's stack."""
        return _take(self._stack)

    def onward(self, content: bytes, direction: int) -> None:
        """Where a frame that goes in *direction* arrives."""
        (self._network if direction == PACKET_FLAG_ON_SEND else self._stack).append(content)

    def detach(self) -> None:
        """What NDIS forgets of an adapter that goes."""
        self.mode = self.event = self.hardware_filter_event = 0
        self.entries.clear()


def _take(frames: deque[bytes]) -> list[bytes]:
    found = []
    while frames:
        found.append(frames.popleft())
    return found
