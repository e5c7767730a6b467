"""How the value of each kind of key is read: text in, checked values out, each with the text it came from.

A reader takes the value of one line without its comment and yields (text, value) pairs: one for a plain key, one an
item for a list. It raises ConfigError at the item at fault; of a list, with the mistakes of its other items.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address, ip_address, ip_interface

from wiresock_py.config.model import Address, Endpoint, InterfaceAddress, Network, PortRange
from wiresock_py.config.text import Text, looks_like_key, nearest, shown
from wiresock_py.crypto.keys import KEY_LENGTH, Key
from wiresock_py.errors import ConfigError

Reader = Callable[[Text], Iterator[tuple[Text, object]]]

# wg drops white space within a value, wg-quick takes it for a separator where it reads the key itself.
_COMMA = ","
_COMMA_OR_BLANK = r"[,\s]+"

_DIGITS = re.compile("[0-9]{1,9}")
_SEARCH_DOMAIN = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9._-]+")
_HOST = re.compile(r"[^\s/@:\[\],]{1,253}")
_LIKE_IPV4 = re.compile("[0-9.]+")
_DOUBLE_QUOTES = '"“”„‟«»＂'
_SINGLE_QUOTES = "'‘’‚‛`"


def compact(text: Text) -> str:
    return re.sub(r"\s", "", text.text)


def reject_quotes(text: Text) -> None:
    """wg-quick's format knows no quotation marks; a quoted value would silently mean something else."""
    for position, character in enumerate(text.text):
        at_edge = position in (0, len(text.text) - 1)
        if character in _DOUBLE_QUOTES or (at_edge and character in _SINGLE_QUOTES):
            message = f"found the quotation mark {character}, expected a value without quotation marks"
            raise text.cut(position, position + 1).error(message, "remove the quotation marks; blanks need none")


def _each(items: Iterable[Text], read: Callable[[Text], object]) -> Iterator[tuple[Text, object]]:
    """The items of a list; after the last, what is wrong with any of them."""
    mistakes: list[ConfigError] = []
    for item in items:
        try:
            yield item, read(item)
        except ConfigError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigError.of_many(mistakes)


def tunnel_name(text: Text) -> Iterator[tuple[Text, object]]:
    """The name of another tunnel: of its file, without the suffix."""
    name = text.text.removesuffix(".conf")
    if not name or "/" in name or "\\" in name:
        raise text.error(f"found {shown(text.text)}, expected a tunnel's name: its file's, without folder and .conf")
    yield text, name


def key(kind: type[Key]) -> Reader:
    """A reader of keys. What it found is never told, only how long it was."""

    def read(text: Text) -> Iterator[tuple[Text, object]]:
        given = compact(text)
        try:
            value = kind.from_base64(given)
        except ValueError as error:
            if len(given) == len(kind(bytes(KEY_LENGTH)).to_base64()):
                raise text.error(f"found no valid key: {error}", _KEY_REMEDY) from None
            message = f"found {len(given)} characters, expected a key: 44 characters of base64 ending in '='"
            raise text.error(message, _KEY_REMEDY) from None
        yield text, value

    return read


_KEY_REMEDY = "copy the whole key, as wiresock-py genkey, pubkey or genpsk printed it"


def number(low: int, high: int, off: str = "") -> Reader:
    """A reader of decimal numbers; the word *off*, in any case, means 0."""
    expected = f"a number from {low} to {high}" + (f" or {off!r}" if off else "")

    def read(text: Text) -> Iterator[tuple[Text, object]]:
        given = compact(text)
        value = 0 if off and given.lower() == off else int(given) if _DIGITS.fullmatch(given) else -1
        if not low <= value <= high:
            raise text.error(f"found {shown(text.text)}, expected {expected}")
        yield text, value

    return read


def switch(text: Text) -> Iterator[tuple[Text, object]]:
    """``true`` or ``false``, in any case."""
    given = compact(text).lower()
    if given not in ("true", "false"):
        remedy = _SWITCH_WORDS.get(given) or nearest(given, ("true", "false"))
        raise text.error(f"found {shown(text.text)}, expected true or false", remedy)
    yield text, given == "true"


_SWITCH_WORDS = {
    word: f"write {meant}"
    for meant, words in (("true", ("on", "yes", "1", "enabled")), ("false", ("off", "no", "0", "disabled")))
    for word in words
}


def interface_addresses(text: Text) -> Iterator[tuple[Text, object]]:
    """Addresses with or without a prefix length."""
    items = (item for item in text.split(_COMMA_OR_BLANK) if item.text)
    return _each(items, lambda item: _prefix(item, item.text))


def prefixes(text: Text) -> Iterator[tuple[Text, object]]:
    """Prefixes, host bits removed. ``+`` (add, the default) is read as wg reads it."""
    return _each(text.split(_COMMA) if text.text else (), read_prefix)


def read_prefix(item: Text) -> Network:
    """One prefix of a list."""
    given = compact(item)
    if not given:
        raise item.error("found two commas in a row or one at the end, expected an address or prefix between")
    if given.startswith("-"):
        raise item.error(f"found {shown(item.text)}, expected an address or prefix", "exclude with DisallowedIPs")
    return _prefix(item, given.removeprefix("+")).network


def has_host_bits(item: Text) -> bool:
    """Whether an item that :func:`prefixes` took has bits set behind its prefix length."""
    interface = ip_interface(compact(item).removeprefix("+"))
    return interface.ip != interface.network.network_address


def dns_servers(text: Text) -> Iterator[tuple[Text, object]]:
    """Addresses of servers, and names, which are search domains."""
    return _each((item for item in text.split(_COMMA_OR_BLANK) if item.text), _read_dns_server)


def _read_dns_server(item: Text) -> Address | str:
    address = _address(item.text)
    if address is None and (not _SEARCH_DOMAIN.fullmatch(item.text) or looks_like_key(item.text)):
        raise item.error(f"found {shown(item.text)}, expected an IP address or a search domain")
    return address or item.text


def endpoint(text: Text) -> Iterator[tuple[Text, object]]:
    """``host:port``, ``1.2.3.4:port`` or ``[v6]:port``, where a zone may follow the address."""
    given = compact(text)
    host, colon, port = given.rpartition(":")
    if not colon or given.endswith("]"):
        raise text.error(f"found {shown(given)}, expected host:port", "add the server's port, such as :51820")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_address(host.partition("%")[0]), IPv6Address):
            raise text.error(f"found {shown(host)} in brackets, expected an IPv6 address")
    elif _address(host.partition("%")[0]) is not None and ":" in host:
        raise text.error(f"found {shown(given)}, expected an IPv6 address in brackets", "write [address]:port")
    elif not _HOST.fullmatch(host) or (_LIKE_IPV4.fullmatch(host) and _address(host) is None):
        raise text.error(f"found {shown(host)}, expected a host name or an IP address")
    if not _DIGITS.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise text.cut(text.text.rfind(":") + 1, len(text.text)).error(
            f"found {shown(port)} as the port, expected a number from 1 to 65535"
        )
    yield text, Endpoint(host, int(port))


_ROOTED = re.compile(r"/|\\\\|[A-Za-z]:[\\/]")
_KEY_SHAPE = re.compile(r"[A-Za-z0-9+/]{40,44}={0,2}")
_UNEXPANDED = re.compile(r"~|%\w+%|\$|\.\.?[\\/]")


def apps(text: Text) -> Iterator[tuple[Text, object]]:
    """Entries of an app list: a name, a path or folder, ``@group``."""
    if not text.text:
        raise text.error("found no app, expected at least one", "remove the line to mean every app")
    return _each(text.split(_COMMA), read_app)


def read_app(item: Text) -> str:
    """One entry of an app list. Raises ConfigError for one that could never match what its writer meant."""
    if not item.text:
        raise item.error("found two commas in a row or one at the end, expected an app between")
    reject_quotes(item)
    if "*" in item.text or "?" in item.text:
        remedy = "write the program's file name, or the folder that it is in"
        raise item.error(
            f"found {shown(item.text)}: wildcards are not known, expected a name, a path or a folder", remedy
        )
    if ";" in item.text and not is_path(item.text):
        raise item.error(f"found {shown(item.text)}, expected an app's name", "separate apps by commas")
    if _UNEXPANDED.match(item.text):
        remedy = "write the path in full"
        raise item.error(f"found {shown(item.text)}: '~', '.' and variables are not expanded, expected a path", remedy)
    pasted_key = _KEY_SHAPE.fullmatch(item.text) and looks_like_key(item.text)
    if pasted_key or item.text == "@" or not item.text.strip("/\\. "):
        raise item.error(f"found {shown(item.text)}, expected an app's name, a path, a folder or @group")
    return item.text


_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST_NAME = 253


def domains(text: Text) -> Iterator[tuple[Text, object]]:
    """Entries of a domain list: ``example.com``, ``*.example.com``; names in other scripts by IDNA."""
    if not text.text:
        raise text.error("found no domain, expected at least one", "remove the line to mean every name")
    return _each(text.split(_COMMA), read_domain)


def read_domain(item: Text) -> str:
    """One domain in the form that names are compared in: small letters, ASCII, no dot at the end."""
    if not item.text:
        raise item.error("found two commas in a row or one at the end, expected a domain between")
    reject_quotes(item)
    wildcard, name = ("*.", item.text[2:]) if item.text.startswith("*.") else ("", item.text)
    if "*" in name:
        remedy = "write example.com for it and all below, *.example.com for what is below only"
        raise item.error(f"found {shown(item.text)}: '*' stands for whole parts at the beginning only", remedy)
    if "/" in name or ":" in name:
        raise item.error(f"found {shown(item.text)}, expected a domain", "write the name alone: example.com")
    if _address(name) is not None or _LIKE_IPV4.fullmatch(name):
        raise item.error(f"found the address {shown(item.text)}, expected a domain", "addresses belong in AllowedIPs")
    try:
        ascii_name = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        ascii_name = ""
    plain = ascii_name.lower().removesuffix(".")
    if len(plain) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in plain.split(".")):
        raise item.error(f"found {shown(item.text)}, expected a domain such as example.com or *.example.com")
    return wildcard + plain


_PORTS = re.compile(r"(?P<first>[0-9]{1,5})(-(?P<last>[0-9]{1,5}))?(/(?P<protocol>tcp|udp))?", re.IGNORECASE)


def ports(text: Text) -> Iterator[tuple[Text, object]]:
    """Entries of a port list: ``22``, ``8000-8100``, ``22/tcp``."""
    if not text.text:
        raise text.error("found no port, expected at least one", "remove the line to mean none")
    return _each(text.split(_COMMA), read_ports)


def read_ports(item: Text) -> PortRange:
    """One entry of a port list."""
    match = _PORTS.fullmatch(compact(item))
    first, last = (int(match["first"]), int(match["last"] or match["first"])) if match else (0, 0)
    if match is None or not 1 <= first <= last <= 65535:
        expected = "a port from 1 to 65535, a range such as 8000-8100, with /tcp or /udp for one of the two"
        raise item.error(f"found {shown(item.text)}, expected {expected}")
    return PortRange(first, last, (match["protocol"] or "").lower())


def is_path(entry: str) -> bool:
    """Whether an entry of an app list is a path or folder rather than a name."""
    return "/" in entry or "\\" in entry


def is_rooted(entry: str) -> bool:
    """Whether a path entry starts at the root of a file system, Windows' drives and shares included."""
    return _ROOTED.match(entry) is not None


def _address(text: str) -> Address | None:
    """An address without zone; None if *text* is none. Leading zeros and short forms are none, as for inet_pton."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _prefix(item: Text, given: str) -> InterfaceAddress:
    address, slash, length = given.partition("/")
    host = _address(address)
    remedy = "separate items with commas" if re.search(r"\S\s+\S", item.text) else ""
    if host is None:
        raise item.error(f"found {shown(item.text)}, expected an IP address or prefix such as 10.0.0.0/8", remedy)
    if slash and (not _DIGITS.fullmatch(length) or int(length) > host.max_prefixlen):
        expected = f"a prefix length from 0 to {host.max_prefixlen} after the slash"
        raise item.error(f"found {shown(item.text)}, expected {expected}", remedy)
    return ip_interface(f"{address}/{int(length)}" if slash else address)
