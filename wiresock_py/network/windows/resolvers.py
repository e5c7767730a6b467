"""The DNS servers and search domains of Windows' adapters."""

import ipaddress
import sys
from collections.abc import Iterable

from wiresock_py.network.windows.adapters import Adapter, adapters

_TCPIP = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters"


def name_servers(known: Iterable[Adapter] | None = None) -> tuple[str, ...]:
    """The servers of adapters that are up, the preferred adapter's first. Raises NetworkError.

    A server on this host is a stub, which Windows does not tell whom it asks: it comes after those that are elsewhere.
    """
    servers = [server for adapter in _preferred(known) for server in adapter.dns_servers]
    servers.sort(key=lambda server: ipaddress.ip_address(server.partition("%")[0]).is_loopback)
    return tuple(dict.fromkeys(servers))


def search_domains(known: Iterable[Adapter] | None = None, listed: str | None = None) -> tuple[str, ...]:
    """The domains tried after a name without a dot: the list for the whole host if there is one, else each adapter's.

    *listed* is that list, as the registry has it (separated by commas).
    """
    named = [domain.strip() for domain in (_search_list() if listed is None else listed).split(",")]
    if not any(named):
        named = [adapter.dns_suffix for adapter in _preferred(known)]
    return tuple(dict.fromkeys(domain.rstrip(".") for domain in named if domain))


def _preferred(known: Iterable[Adapter] | None) -> list[Adapter]:
    up = [adapter for adapter in (adapters() if known is None else known) if adapter.up and not adapter.loopback]
    # one without a way out knows names of its own network only
    return sorted(up, key=lambda adapter: (not adapter.gateways, adapter.metric))


def _search_list() -> str:
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _TCPIP) as key:
                return str(winreg.QueryValueEx(key, "SearchList")[0])
        except OSError:
            pass  # there is none
    return ""
