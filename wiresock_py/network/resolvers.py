"""Which DNS servers this host uses, read from resolv.conf."""

from typing import NamedTuple


class Resolver(NamedTuple):
    """A DNS server."""

    address: str
    """Numeric, an IPv6 link-local one with its zone (``fe80::1%eth0``)."""
    port: int = 53


def resolvers() -> tuple[Resolver, ...]:
    """The DNS servers of the host's adapters, in order; behind a local stub those the stub asks."""
    raise NotImplementedError
