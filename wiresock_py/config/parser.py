"""wg0.conf: from text to a checked :class:`Config`, or to every mistake in it at once.

The format is wg-quick's, as ``wg``, ``wg-quick`` and WireGuard for Windows read it; where they differ from each other
or from this parser stands in docs/configuration.md.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from wiresock_py.config.advice import advise
from wiresock_py.config.keys import INTERFACE, PEER
from wiresock_py.config.lines import read_lines
from wiresock_py.config.model import Config, Interface, Network, Peer
from wiresock_py.config.sections import Section, Sections
from wiresock_py.config.text import Text
from wiresock_py.crypto.keys import KEY_LENGTH, PresharedKey, PrivateKey, PublicKey
from wiresock_py.errors import ConfigError

# The smallest MTU that IPv6 works with (RFC 8200 section 5).
_IPV6_MTU = 1280


def parse(text: str, file: str) -> Config:
    """The config that *text* states; *file* names it in messages, and by its stem the tunnel.

    Raises ConfigError for the first mistake, with the rest of them in ``others``. No message contains a key.
    """
    sections = Sections(read_lines(text.removeprefix("\ufeff"), file))
    interface = sections.interface or Section(Text("", file, 0, 0))
    mistakes = [*sections.mistakes, *_check_interface(interface), *_check_peers(sections.peers, interface)]
    if sections.understood:
        mistakes += _missing(sections.peers, interface)
    if mistakes:
        raise ConfigError.of_many(sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column)))
    config = Config(
        name=PurePath(file).stem,
        file=file,
        interface=_interface(interface),
        peers=tuple(_peer(section) for section in sections.peers),
    )
    return replace(config, notices=(*sections.notices, *advise(config)))


def _missing(peers: list[Section], interface: Section) -> Iterator[ConfigError]:
    header = interface.header
    if interface.lacks("PrivateKey"):
        yield header.error(f"found no PrivateKey, expected one in [{INTERFACE}]", "wiresock-py genkey makes one")
    if interface.lacks("Address"):
        remedy = "write Address = and the address your provider gave you for the tunnel"
        yield header.error(f"found no Address, expected the tunnel's address in [{INTERFACE}]", remedy)
    for peer in peers:
        if peer.lacks("PublicKey"):
            yield peer.header.error(f"found no PublicKey, expected one in each [{PEER}]", "ask your provider for it")


def _check_interface(section: Section) -> Iterator[ConfigError]:
    mtu = section.values.get("MTU")
    if mtu and mtu[-1][1] < _IPV6_MTU and any(address.version == 6 for address in section.items("Address")):
        message = f"found {mtu[-1][1]}, expected at least {_IPV6_MTU}: the tunnel has an IPv6 address"
        yield mtu[-1][0].error(message, f"raise it, or remove the IPv6 address from [{INTERFACE}]")
    for text, key in section.values.get("PrivateKey", ()):
        if key == PrivateKey(bytes(KEY_LENGTH)):
            yield text.error("found a PrivateKey of zeros, expected a real one", "wiresock-py genkey makes one")


def _check_peers(sections: list[Section], interface: Section) -> Iterator[ConfigError]:
    """What each peer must have, and what no two peers may share: there would be two ways, and chance would choose."""
    private = interface.last("PrivateKey")
    own = private.public_key() if private is not None else None
    keys: dict[PublicKey, Section] = {}
    prefixes: dict[Network, tuple[Section, Text]] = {}
    for section in sections:
        key = section.last("PublicKey")
        if key == PublicKey(bytes(KEY_LENGTH)):
            yield section.values["PublicKey"][-1][0].error("found a PublicKey of zeros, expected the server's")
        elif key is not None and bytes(key) == bytes(interface.last("PrivateKey", b"")):
            # Public keys are shown freely, so this one must not be taken for one.
            yield section.values["PublicKey"][-1][0].error(
                "found this file's PrivateKey, expected the server's PublicKey"
            )
        elif key is not None and key == own:
            yield section.values["PublicKey"][-1][0].error(
                "found the PublicKey of this file's PrivateKey, expected the server's", "ask your provider for it"
            )
        elif key is not None:
            earlier = keys.setdefault(key, section)
            if earlier is not section:
                message = f"found the same PublicKey as in the [{PEER}] of line {earlier.header.line}"
                yield section.values["PublicKey"][-1][0].error(message, "make them one section")
        for text, network in section.values.get("AllowedIPs", ()):
            owner, first = prefixes.setdefault(network, (section, text))
            if owner not in (section, keys.get(key)):  # of two sections for one peer, that is the mistake
                message = f"found {network}, which line {first.line} gives to the [{PEER}] of line {owner.header.line}"
                yield text.error(message, "a prefix can lead to one peer of a file only: remove it from the other")


def _interface(section: Section) -> Interface:
    dns = section.items("DNS")
    return Interface(
        private_key=section.last("PrivateKey"),
        addresses=section.items("Address"),
        dns=tuple(item for item in dns if not isinstance(item, str)),
        dns_search=tuple(item for item in dns if isinstance(item, str)),
        mtu=section.last("MTU"),
        listen_port=section.last("ListenPort", 0),
        bypass_lan=section.last("BypassLan", False),
        via=section.last("Via", ""),
        unused=tuple(section.unused),
        places=section.places(),
    )


def _peer(section: Section) -> Peer:
    preshared_key = section.last("PresharedKey")
    return Peer(
        public_key=section.last("PublicKey"),
        # Zeros are WireGuard's way to say that there is none.
        preshared_key=None if preshared_key == PresharedKey(bytes(KEY_LENGTH)) else preshared_key,
        allowed_ips=section.items("AllowedIPs"),
        disallowed_ips=section.items("DisallowedIPs"),
        endpoint=section.last("Endpoint"),
        persistent_keepalive=section.last("PersistentKeepalive", 0),
        allowed_apps=section.items("AllowedApps"),
        disallowed_apps=section.items("DisallowedApps"),
        allowed_app_trees=section.items("AllowedAppTrees"),
        disallowed_app_trees=section.items("DisallowedAppTrees"),
        allowed_domains=section.items("AllowedDomains"),
        disallowed_domains=section.items("DisallowedDomains"),
        allow_inbound=section.items("AllowInbound"),
        line=section.header.line,
        places=section.places(),
    )
