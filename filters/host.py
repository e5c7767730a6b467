"""What the backends on Windows ask about the host's network.

A driver knows adapters by its own names and handles; which of them lead to the rest of the world, which addresses they
have and who is next on the way is known to Windows alone. ``wiresock_py.network`` answers there, tests answer for the
emulator; ``registry.create`` hands the answerer to the backend.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class HostAdapter:
    """An adapter of the host that is up, without loopback."""

    index: int
    """The interface index, as in ``PacketBatch.adapter``; above 0. Windows has one for both families (IfIndex, or
    Ipv6IfIndex where IPv4 is not bound)."""
    guid: str
    """``{GUID}`` in upper case, with its braces: IP_ADAPTER_ADDRESSES.AdapterName, what the driver's names contain."""
    name: str
    """What the user calls it and ``CapturePlan.adapters`` names: "Ethernet", "Wi-Fi" (FriendlyName)."""
    mtu: int
    """Bytes of the largest IP packet, as the stack sees it."""
    addresses: tuple[bytes, ...] = ()
    """Its unicast addresses of both families, link-local ones included, packed."""
    gateways: tuple[bytes, ...] = ()
    """The next hops of its default routes, packed, the preferred one of each family first; of a default route that is
    on-link, the unspecified address. An adapter with any is captured by default."""


class HostNetwork(Protocol):
    """The host's network as it is now. Every method may be called from any thread, and raises NetworkError only if the
    system refuses to answer at all: the backend then keeps to what it knew."""

    def adapters(self) -> tuple[HostAdapter, ...]:
        """The adapters that are up. Called at open, after each change and about once a second: milliseconds."""

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
        """The six bytes that a frame for *destination* (packed, on *adapter*, an interface index) is addressed to.

        That is the gateway's address if the best route by this adapter has one, else the destination's own. What the
        system's neighbour cache knows (not in state unreachable or incomplete, six bytes, not all zero) is taken as it
        is; for anything else the neighbour is asked by ARP or NDP, which may take seconds: backends call this from a
        thread of their own, never on a packet's way. None: nobody answers, or there is no route.
        """

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call *changed*, from any thread, soon after adapters, addresses or routes changed; the result ends that.

        *changed* only sets an event. It may be called too often, also after the end. Once the result has returned no
        new call begins.
        """
