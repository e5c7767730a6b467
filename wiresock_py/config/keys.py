"""The keys of a wg0.conf: the one table that parsing, printing, suggestions and the documentation follow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wiresock_py.config import values
from wiresock_py.config.text import Text
from wiresock_py.config.values import Reader
from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey

INTERFACE = "Interface"
PEER = "Peer"
SECTIONS = (INTERFACE, PEER)

# Where a comment starts within a value. Paths contain '#', so before a comment in an app list there is a blank;
# shell commands give it a meaning of their own.
_ANYWHERE = re.compile("#")
_AFTER_BLANK = re.compile(r"(^|\s)#")
_NOWHERE = re.compile("$^")


@dataclass(frozen=True, slots=True)
class KeyKind:
    """One key: where it belongs and how its value is read."""

    name: str
    section: str
    read: Reader | None
    """None: wg-quick's key that this client has no use for."""
    is_list: bool = False
    """May be repeated, each line adding to the list; of other keys the last line counts."""
    comment: re.Pattern[str] = _ANYWHERE
    extension: bool = False
    """Not wg's: printed behind ``#@ws:`` so that it takes the line for a comment."""
    unused_because: str = ""

    def value(self, raw: Text) -> Text:
        """The value without its comment."""
        comment = self.comment.search(raw.text)
        return raw.cut(0, comment.start() if comment else len(raw.text)).strip()._replace(key=self.name)


def _unused(name: str, because: str, *, script: bool = False) -> KeyKind:
    return KeyKind(name, INTERFACE, None, comment=_NOWHERE if script else _ANYWHERE, unused_because=because)


_NO_SCRIPTS = "this client runs no commands"
_NO_ROUTES = "this client changes no routes"

_ALL = (
    KeyKind("PrivateKey", INTERFACE, values.key(PrivateKey)),
    KeyKind("Address", INTERFACE, values.interface_addresses, is_list=True),
    KeyKind("DNS", INTERFACE, values.dns_servers, is_list=True),
    # 576: what every IPv4 host must accept (RFC 791); IPv6 wants 1280, checked where the addresses are known.
    KeyKind("MTU", INTERFACE, values.number(576, 65535)),
    KeyKind("ListenPort", INTERFACE, values.number(0, 65535)),
    KeyKind("BypassLan", INTERFACE, values.switch, extension=True),
    KeyKind("Via", INTERFACE, values.tunnel_name, extension=True),
    _unused("Table", _NO_ROUTES),
    _unused("FwMark", f"{_NO_ROUTES} and marks its packets by itself"),
    _unused("SaveConfig", "this client never writes to its configuration"),
    _unused("PreUp", _NO_SCRIPTS, script=True),
    _unused("PostUp", _NO_SCRIPTS, script=True),
    _unused("PreDown", _NO_SCRIPTS, script=True),
    _unused("PostDown", _NO_SCRIPTS, script=True),
    KeyKind("PublicKey", PEER, values.key(PublicKey)),
    KeyKind("PresharedKey", PEER, values.key(PresharedKey)),
    KeyKind("Endpoint", PEER, values.endpoint),
    KeyKind("PersistentKeepalive", PEER, values.number(0, 65535, off="off")),
    KeyKind("AllowedIPs", PEER, values.prefixes, is_list=True),
    KeyKind("DisallowedIPs", PEER, values.prefixes, is_list=True, extension=True),
    KeyKind("AllowedApps", PEER, values.apps, is_list=True, comment=_AFTER_BLANK, extension=True),
    KeyKind("DisallowedApps", PEER, values.apps, is_list=True, comment=_AFTER_BLANK, extension=True),
    KeyKind("AllowedAppTrees", PEER, values.apps, is_list=True, comment=_AFTER_BLANK, extension=True),
    KeyKind("DisallowedAppTrees", PEER, values.apps, is_list=True, comment=_AFTER_BLANK, extension=True),
    KeyKind("AllowedDomains", PEER, values.domains, is_list=True, extension=True),
    KeyKind("DisallowedDomains", PEER, values.domains, is_list=True, extension=True),
    KeyKind("AllowInbound", PEER, values.ports, is_list=True, extension=True),
)

# What WireSock calls our keys.
_ALIASES = {"bypasslantraffic": "bypasslan"}
_BY_NAME = {kind.name.lower(): kind for kind in _ALL}

KEYS: Mapping[str, KeyKind] = MappingProxyType(
    {**_BY_NAME, **{alias: _BY_NAME[name] for alias, name in _ALIASES.items()}}
)
"""By name in small letters."""

_OTHERS = (
    (
        "AmneziaWG's obfuscation, which this client does not speak",
        "jc jmin jmax jd s1 s2 s3 s4 h1 h2 h3 h4 i1 i2 i3 i4 i5 id ip ib",
    ),
    (
        "WireSock's SOCKS5 transport, which this client does not have",
        "socks5proxy socks5proxyusername socks5proxypassword socks5proxyalltraffic",
    ),
    (
        "WireSock's virtual adapter, which this client does not need",
        "virtualadaptermode enabledefaultgateway",
    ),
    (f"WireSock's scripts; {_NO_SCRIPTS}", "scriptexectimeout"),
)
FOREIGN: Mapping[str, str] = MappingProxyType({name: what for what, names in _OTHERS for name in names.split()})
"""Keys of programs that read the same format, by name in small letters, and what they belong to. To skip one silently
would change what the file's writer relies on."""
