"""What the core must know of a UDP source address: its bytes and port, for cookies and the rate limiter."""

import ipaddress

from wiresock_py.crypto.results import Address


def origin(source: Address) -> tuple[bytes, int]:
    """The packed address (4 or 16 bytes) and port of a ``(host, port, ...)`` as the socket module gives it.

    An IPv4 address that a dual-stack socket shows as ``::ffff:a.b.c.d`` is IPv4. Raises TypeError or ValueError for
    anything else: the caller's mistake, not the network's.
    """
    if not isinstance(source, tuple) or len(source) < 2:
        raise TypeError(f"a source is a (host, port) tuple, not {type(source).__name__}")
    address = ipaddress.ip_address(source[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.packed, int(source[1])
