"""A network that changes, a machine that slept: every peer hears at once from where we are now.

A peer sends to the address that the last authentic datagram came from. So when the way to it changes, it gets one, in
the session there is, and a handshake besides, which also tells us whether it still knows that session.
"""

import ipaddress
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from wiresock_py.crypto import Tunnel
from wiresock_py.engine.clock import now as clock
from wiresock_py.engine.links import Link
from wiresock_py.engine.udp import Endpoint
from wiresock_py.errors import NetworkError
from wiresock_py.filters import MAX_PACKET
from wiresock_py.network import Change, DefaultRoute, adapter_mtu, default_adapters, path_mtu, source_address

log = logging.getLogger(__name__)

WAIT = 0.5
"""Seconds between two looks without any news: how long a resume goes unnoticed."""
SETTLE = 0.05
"""Changes come in bursts (an adapter, its addresses, its routes); one look follows them."""
SLEPT = 2.0
"""Seconds by which the clock that counts sleep has to get ahead before the machine counts as having slept."""


class News(Protocol):
    """Says when the network changes: ``wiresock_py.network.NetworkChanges``."""

    def wait(self, timeout: float) -> Change: ...


class Way(NamedTuple):
    """How datagrams to one peer leave this host."""

    source: bytes | None
    """The address they come from, packed; None: there is no route."""
    routes: tuple[DefaultRoute, ...]


class Roaming:
    """Watches the ways to the peers of *links*; ``follow`` is one turn of its thread's loop."""

    def __init__(
        self,
        links: Sequence[Link],
        news: News,
        *,
        boot_clock: Callable[[], float] = clock,
        waking_clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """*boot_clock* counts the time asleep, *waking_clock* does not."""
        self._links = links
        self._news = news
        self._boot_clock = boot_clock
        self._waking_clock = waking_clock
        self._sleep = sleep
        self._slept = self._asleep()
        self._ways: dict[Tunnel, Way] = {}
        self._adapter_mtu = 0
        self._look()

    def follow(self) -> None:
        """Wait for news, and call the peers that it concerns."""
        changed = self._news.wait(WAIT)
        slept = self._asleep() - self._slept
        self._slept += slept
        if slept > SLEPT:
            log.info("the machine slept for %.0f s: calling every peer", slept)
            self._ways.clear()
        elif not changed:
            self._fit()  # what routers on the way ask for is no news
            return
        else:
            self._sleep(SETTLE)
            self._news.wait(0)
        for link, peer in self._look():
            log.info("%s: the way to %s has changed: calling it", link.name, peer.endpoint)
            link.greet(peer, clock())

    def _asleep(self) -> float:
        return self._boot_clock() - self._waking_clock()

    def _look(self) -> list[tuple[Link, Tunnel]]:
        """The peers to which the way is another one than at the last look, and there is one."""
        routes = default_adapters()
        if routes:
            with suppress(NetworkError):  # gone since
                self._adapter_mtu = adapter_mtu(routes[0].adapter)
        found = []
        before, self._ways = self._ways, {}
        for link in self._links:
            for peer in link.peers:
                address = _address(peer)
                source = None if address is None else source_address(address, mark=link.mark)
                way = self._ways[peer] = Way(source, routes)
                if source is not None and before.get(peer) != way:
                    found.append((link, peer))
        self._fit()
        return found

    def _fit(self) -> None:
        """Fit the tunnels to the adapter of the default route, and to what the ways to their peers carry."""
        for link in sorted(self._links, key=lambda link: link.depth):  # what a tunnel carries is what the next one has
            addresses = [address for peer in link.peers if (address := _address(peer)) is not None]
            known = [mtu for address in addresses if (mtu := path_mtu(address, mark=link.mark)) is not None]
            if link.fit(self._adapter_mtu or link.adapter_mtu, min(known, default=MAX_PACKET)):
                log.info("%s: the way out carries other sizes now; the tunnel's MTU is %d", link.name, link.mtu)


def _address(peer: Tunnel) -> bytes | None:
    """Where *peer* is, packed; None if it has never spoken, and nobody says where it is."""
    endpoint = peer.endpoint
    if not isinstance(endpoint, Endpoint):
        return None
    return ipaddress.ip_address(endpoint.address.partition("%")[0]).packed
