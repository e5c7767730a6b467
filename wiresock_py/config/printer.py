"""A config as text again: ``parse(format_config(config, secrets=True), config.file) == config``."""

from collections.abc import Iterable, Iterator

from wiresock_py.config.keys import KEYS
from wiresock_py.config.lines import EXTENSION_PREFIX
from wiresock_py.config.model import Config, Interface, Peer
from wiresock_py.crypto.keys import Key

_HIDDEN = "(hidden)"


def format_config(config: Config, *, secrets: bool) -> str:
    """A file that states *config*.

    Without *secrets*, private and preshared keys and the values of unused keys (commands may hold anything) read
    ``(hidden)``; such text is for eyes, not for parsing.
    """
    lines = ["[Interface]", *_interface(config.interface, secrets)]
    for peer in config.peers:
        lines += ["", "[Peer]", *_peer(peer, secrets)]
    return "\n".join(lines) + "\n"


def _interface(interface: Interface, secrets: bool) -> Iterator[str]:
    yield _line("PrivateKey", _secret(interface.private_key, secrets))
    yield from _list("Address", interface.addresses)
    yield from _list("DNS", [*interface.dns, *interface.dns_search])
    if interface.mtu is not None:
        yield _line("MTU", interface.mtu)
    if interface.listen_port:
        yield _line("ListenPort", interface.listen_port)
    if interface.bypass_lan:
        yield _line("BypassLan", "true")
    if interface.via:
        yield _line("Via", interface.via)
    for key, value in interface.unused:
        yield _line(key, value if secrets else _HIDDEN)


def _peer(peer: Peer, secrets: bool) -> Iterator[str]:
    yield _line("PublicKey", peer.public_key)
    if peer.preshared_key is not None:
        yield _line("PresharedKey", _secret(peer.preshared_key, secrets))
    if peer.endpoint is not None:
        yield _line("Endpoint", peer.endpoint)
    if peer.persistent_keepalive:
        yield _line("PersistentKeepalive", peer.persistent_keepalive)
    yield from _list("AllowedIPs", peer.allowed_ips)
    yield from _list("DisallowedIPs", peer.disallowed_ips)
    yield from _list("AllowedApps", peer.allowed_apps)
    yield from _list("DisallowedApps", peer.disallowed_apps)
    yield from _list("AllowedAppTrees", peer.allowed_app_trees)
    yield from _list("DisallowedAppTrees", peer.disallowed_app_trees)
    yield from _list("AllowedDomains", peer.allowed_domains)
    yield from _list("DisallowedDomains", peer.disallowed_domains)
    yield from _list("AllowInbound", peer.allow_inbound)


def _secret(key: Key, secrets: bool) -> str:
    return key.to_base64() if secrets else _HIDDEN


def _list(key: str, items: Iterable[object]) -> Iterator[str]:
    text = ", ".join(str(item) for item in items)
    if text:
        yield _line(key, text)


def _line(key: str, value: object) -> str:
    return f"{EXTENSION_PREFIX if KEYS[key.lower()].extension else ''}{key} = {value}".rstrip()
