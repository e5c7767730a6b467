"""The client's own look-up of its endpoints' names, past its own tunnel."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from wiresock_py.network.resolvers import Resolver


def lookup(
    host: str, *, mark: int = 0, timeout: float = 5.0, servers: Sequence[Resolver] | None = None
) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses of *host*, at least one: IPv4 before IPv6, families without a route last.

    *mark* goes on every socket (SO_MARK), so that the queries bypass the tunnel; *timeout* seconds bound the whole
    look-up. *servers* default to the host's. Raises NetworkError naming the servers asked and what each said.
    """
    raise NotImplementedError
