"""Which DNS servers this host uses, and names it knows by itself: resolv.conf(5), hosts(5); on Windows the adapters'.

A resolver on loopback is a stub of this host. What the stub asks leaves by its own sockets, which rules may send into
a tunnel that is not up yet; so the client's own look-ups go past it, to the servers the stub itself would ask.
"""

import contextlib
import ipaddress
import os
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

if sys.platform == "win32":
    from wiresock_py.network.windows.resolvers import name_servers as windows_name_servers
    from wiresock_py.network.windows.resolvers import search_domains as windows_search_domains

RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS = (
    Path(os.environ.get("SYSTEMROOT", "C:\\Windows"), "System32", "drivers", "etc", "hosts")
    if sys.platform == "win32"
    else Path("/etc/hosts")
)
# Where the stubs write the servers they ask: systemd-resolved, NetworkManager's dnsmasq.
BEHIND_THE_STUB = (Path("/run/systemd/resolve/resolv.conf"), Path("/run/NetworkManager/no-stub-resolv.conf"))
_GLIBC_DEFAULT = "127.0.0.1"  # resolv.conf(5), for a file that names nobody


class Resolver(NamedTuple):
    """A DNS server."""

    address: str
    """Numeric, an IPv6 link-local one with its zone (``fe80::1%eth0``)."""
    port: int = 53

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address} port {self.port}"


def resolvers() -> tuple[Resolver, ...]:
    """The DNS servers of the host's adapters, in order; behind a local stub, those the stub asks (where it tells them).

    Raises NetworkError if Windows does not list its adapters.
    """
    if sys.platform == "win32":
        return tuple(Resolver(address) for address in windows_name_servers())
    named = name_servers(RESOLV_CONF) or (Resolver(_GLIBC_DEFAULT),)
    if all(_is_loopback(resolver.address) for resolver in named):
        for file in BEHIND_THE_STUB:
            if behind := name_servers(file):
                return behind
    return named


def name_servers(file: Path) -> tuple[Resolver, ...]:
    """The servers a resolv.conf names; empty if it names none or is not there."""
    return tuple(Resolver(words[1]) for words in _lines(file) if words[0] == "nameserver" and _is_address(words[1]))


def search_domains(file: Path | None = None) -> tuple[str, ...]:
    """The domains tried after a name without a dot; of *file*, a resolv.conf, the last line that gives some counts."""
    if sys.platform == "win32" and file is None:
        return windows_search_domains()
    domains: tuple[str, ...] = ()
    for words in _lines(file or RESOLV_CONF):
        if words[0] in {"search", "domain"}:
            domains = tuple(word.rstrip(".") for word in words[1:])
    return domains


def hosts_entry(name: str, file: Path = HOSTS) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses the hosts file gives *name*."""
    wanted = name.rstrip(".").lower()
    found: list[IPv4Address | IPv6Address] = []
    for address, *names in _lines(file):
        if wanted in (known.lower() for known in names):
            with contextlib.suppress(ValueError):
                found.append(ipaddress.ip_address(address))
    return tuple(dict.fromkeys(found))


def _lines(file: Path) -> list[list[str]]:
    """The words of each line that has at least two, without comments."""
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        return []
    lines = (line.partition("#")[0].partition(";")[0].split() for line in text.splitlines())
    return [words for words in lines if len(words) >= 2]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
