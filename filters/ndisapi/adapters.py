"""Adapters as the driver lists them, their modes, and the links of dial-up adapters."""

from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address

from wiresock_py.filters.ndisapi.raw import constants
from wiresock_py.filters.ndisapi.raw.constants import ADAPTER_LIST_SIZE, RAS_LINKS_MAX
from wiresock_py.filters.ndisapi.raw.structures import RAS_LINK_INFO, RAS_LINKS, TCP_AdapterList


class Direction(IntFlag):
    """Seen from this host's stack."""

    SEND = constants.PACKET_FLAG_ON_SEND
    RECEIVE = constants.PACKET_FLAG_ON_RECEIVE
    BOTH = SEND | RECEIVE


class AdapterMode(IntFlag):
    """What the driver does with an adapter's packets that no static filter decides."""

    NONE = 0
    """They pass by unseen."""
    SENT_TUNNEL = constants.MSTCP_FLAG_SENT_TUNNEL
    """Outgoing packets are queued instead of sent."""
    RECV_TUNNEL = constants.MSTCP_FLAG_RECV_TUNNEL
    """Incoming packets are queued instead of delivered."""
    SENT_LISTEN = constants.MSTCP_FLAG_SENT_LISTEN
    """Outgoing packets are sent, and copied to the queue."""
    RECV_LISTEN = constants.MSTCP_FLAG_RECV_LISTEN
    """Incoming packets are delivered, and copied to the queue."""
    FILTER_DIRECT = constants.MSTCP_FLAG_FILTER_DIRECT
    """On a promiscuous adapter, frames for other machines do not reach the stack."""
    LOOPBACK_FILTER = constants.MSTCP_FLAG_LOOPBACK_FILTER
    """Packets that NDIS loops back on the adapter are treated like others; without it the stack gets them as they are.

    127.0.0.0/8 and ::1 are never seen here: they do not reach NDIS.
    """
    LOOPBACK_BLOCK = constants.MSTCP_FLAG_LOOPBACK_BLOCK
    """Packets that NDIS loops back are dropped."""
    TUNNEL = SENT_TUNNEL | RECV_TUNNEL
    LISTEN = SENT_LISTEN | RECV_LISTEN


@dataclass(frozen=True, slots=True)
class Adapter:
    """A network adapter the driver is bound to.

    *handle* goes stale when the adapter is unplugged, disabled or reset, and on sleep and driver updates, and may come
    back as another adapter's; only *name* lasts.
    """

    handle: int
    name: str
    """The internal name, ``\\DEVICE\\{GUID}``."""
    medium: int
    """NDIS medium: 0 Ethernet, 3 WAN, 9 mobile broadband, 16 native Wi-Fi."""
    mac: bytes
    mtu: int

    @property
    def guid(self) -> str:
        """``{GUID}`` in upper case, as the IP helper functions name it; some WAN adapters have a word there."""
        prefix = constants.DEVICE_PREFIX
        bare = self.name[len(prefix) :] if self.name.upper().startswith(prefix.upper()) else self.name
        return bare.upper()


@dataclass(frozen=True, slots=True)
class RasLink:
    """A live connection of a dial-up (NDISWAN) adapter."""

    speed: int
    """bit/s"""
    mtu: int
    local: bytes
    """The MAC that the link's frames carry for this host."""
    remote: bytes
    protocol_buffer: bytes

    @property
    def ipv4(self) -> IPv4Address | None:
        """The address given to this host, where Windows says it; None if not."""
        start = constants.RAS_PROTOCOL_BUFFER_IPV4_OFFSET
        packed = self.protocol_buffer[start : start + 4]
        return IPv4Address(packed) if len(packed) == 4 and any(packed) else None


def read_adapters(listed: TCP_AdapterList) -> list[Adapter]:
    """The adapters of the driver's answer."""
    count = min(listed.m_nAdapterCount, ADAPTER_LIST_SIZE)
    return [
        Adapter(
            handle=listed.m_nAdapterHandle[i],
            name=bytes(listed.m_szAdapterNameList[i]).partition(b"\0")[0].decode("ascii", "replace"),
            medium=listed.m_nAdapterMediumList[i],
            mac=bytes(listed.m_czCurrentAddress[i]),
            mtu=listed.m_usMTU[i],
        )
        for i in range(count)
    ]


def read_ras_links(links: RAS_LINKS) -> list[RasLink]:
    """The links of the driver's answer."""
    return [_read_ras_link(links.RasLinks[i]) for i in range(min(links.nNumberOfLinks, RAS_LINKS_MAX))]


def _read_ras_link(link: RAS_LINK_INFO) -> RasLink:
    return RasLink(
        speed=link.LinkSpeed * 100,
        mtu=link.MaximumTotalSize,
        local=bytes(link.LocalAddress),
        remote=bytes(link.RemoteAddress),
        protocol_buffer=bytes(link.ProtocolBuffer)[: link.ProtocolBufferLength],
    )
