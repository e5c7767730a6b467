"""The link headers of frames of our own: who is next on the way, as captured frames and the host's network tell.

A held packet that turns out *direct* goes out behind the very header it was captured with, which names the next hop
its stack had chosen. A packet for the stack comes from the router of its family, as everything from afar does.
"""

import threading
from collections.abc import Mapping, Sequence

from wiresock_py.errors import NetworkError
from wiresock_py.filters.base import Buffer
from wiresock_py.filters.host import HostNetwork
from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.attachments import ETHERNET_HEADER, Attachment
from wiresock_py.filters.ndisapi.outbox import ETHERTYPES, Place, ends, make_place

MAX_LEARNED = 4096
# Stands for a router whose address is not known (yet): locally administered, nobody's. The stack does not answer to it.
NOBODY = b"\x02\0\0\0\0\x01"
MACS = 12
"""Bytes of a link header before its tags and type: destination and source."""


class NextHops:
    """Every method may be called from any thread."""

    def __init__(self, host: HostNetwork) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._attachments: tuple[Attachment, ...] = ()
        self._routers: dict[tuple[int, int], bytes] = {}
        """MACs by interface index and IP version."""
        self._learned: dict[tuple[int, bytes], Place] = {}
        """By interface index and destination: what does not go to the router, or before it was known."""
        self._tags: dict[int, tuple[bytes, int]] = {}
        """What the last tagged frame of an adapter (by handle) carried: tags in the frame, and beside it."""
        self.into: Mapping[bytes, Place] = {}
        """Where packets for an address of this host go; replaced, never changed."""
        self.routers: frozenset[bytes] = frozenset()
        """Frames to these MACs teach nothing new."""

    def refresh(self, attachments: Sequence[Attachment]) -> None:
        """The adapters, their addresses or their routers changed; the first of several with one address gets it."""
        with self._lock:
            self._attachments = tuple(attachments)
            indices = {attachment.index for attachment in attachments}
            self._routers = {place: mac for place, mac in self._routers.items() if place[0] in indices}
            self._learned.clear()
            self._rebuild()

    def resolve(self) -> None:
        """Ask for the routers' MACs; may take seconds."""
        for attachment in self._attachments:
            for gateway in attachment.host.gateways:
                version = 4 if len(gateway) == 4 else 6
                if not any(gateway) or gateway != _preferred(attachment, version):
                    continue
                try:
                    mac = self._host.next_hop_mac(attachment.index, gateway)
                except NetworkError:
                    continue
                with self._lock:
                    if mac is not None and self._routers.get((attachment.index, version)) != mac:
                        self._routers[attachment.index, version] = mac
                        self._rebuild()

    def learn(self, attachment: Attachment, link: bytes, destination: bytes, vlan: int) -> None:
        """A captured frame for *destination* had the link header *link* and, beside it, the tag *vlan*."""
        key = attachment.index, destination
        place = make_place(attachment.handle, Direction.SEND, link, vlan, attachment.mtu)
        with self._lock:
            tags = link[MACS:-2], vlan
            if tags != self._tags.get(attachment.handle, (b"", 0)):
                self._tags[attachment.handle] = tags
                self._rebuild()
            if self._learned.get(key) != place:
                if len(self._learned) >= MAX_LEARNED:
                    self._learned.clear()
                self._learned[key] = place

    def into_stack(self, packet: Sequence[Buffer]) -> Place | str:
        """Where a packet for this host goes, or why nowhere."""
        both = ends(packet)
        return self.into.get(both[len(both) // 2 :]) or ("no_adapter" if both else "malformed")

    def onto_network(self, packet: Sequence[Buffer], index: int) -> Place | str:
        """Where a packet of this host goes by the adapter *index* (0: the one that has its source address)."""
        both = ends(packet)
        if not both:
            return "malformed"
        half = len(both) // 2
        attachment = self._sender(index, both[:half])
        if attachment is None:
            return "no_adapter"
        if (place := self._learned.get((attachment.index, both[half:]))) is not None:
            return place
        version = 4 if half == 4 else 6
        router = self._routers.get((attachment.index, version))
        if router is None:
            return "no_next_hop"
        return self._place(attachment, version, Direction.SEND, router, attachment.mac)

    def _sender(self, index: int, source: bytes) -> Attachment | None:
        for attachment in self._attachments:
            if attachment.index == index if index else source in attachment.host.addresses:
                return attachment
        return None

    def _rebuild(self) -> None:
        into: dict[bytes, Place] = {}
        for attachment in self._attachments:
            for address in attachment.host.addresses:
                version = 4 if len(address) == 4 else 6
                router = self._routers.get((attachment.index, version), NOBODY)
                into.setdefault(address, self._place(attachment, version, Direction.RECEIVE, attachment.mac, router))
        self.into = into
        self.routers = frozenset(self._routers.values())

    def _place(self, attachment: Attachment, version: int, direction: Direction, to: bytes, by: bytes) -> Place:
        tags, vlan = self._tags.get(attachment.handle, (b"", 0))
        link = to + by + tags + ETHERTYPES[version]
        assert len(link) >= ETHERNET_HEADER
        return make_place(attachment.handle, direction, link, vlan, attachment.mtu - len(tags))


def _preferred(attachment: Attachment, version: int) -> bytes:
    """The first gateway of that version."""
    size = 4 if version == 4 else 16
    return next((gateway for gateway in attachment.host.gateways if len(gateway) == size), b"")
