"""The configuration grammar: printing and parsing are inverses; nothing raised but ConfigError; no key in a message."""

import random
from base64 import b64encode
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.configs import PRESHARED_KEY, PRIVATE_KEY, PUBLIC_KEY, conf
from wiresock_py.config import Config, Endpoint, Interface, Peer, PortRange, format_config, parse
from wiresock_py.config.model import Notice
from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.config.text import looks_like_key
from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.errors import ConfigError

raw_keys = st.binary(min_size=32, max_size=32).filter(any)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
interfaces = st.one_of(
    st.builds(lambda a, n: IPv4Interface((int(a), n)), st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda a, n: IPv6Interface((int(a), n)), st.ip_addresses(v=6), st.integers(0, 128)),
)
networks = st.one_of(
    st.builds(lambda a, n: IPv4Network((int(a), n), strict=False), st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(lambda a, n: IPv6Network((int(a), n), strict=False), st.ip_addresses(v=6), st.integers(0, 128)),
)
labels = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
hosts = st.one_of(labels, st.builds("{}.{}".format, labels, labels), addresses.map(str))
# no hyphens in the third and fourth place: those are IDNA's own
domains = st.builds(
    "{}{}.{}".format,
    st.sampled_from(["", "*."]),
    st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    st.just("test"),
)
port_ranges = st.builds(
    lambda first, more, protocol: PortRange(first, min(65535, first + more), protocol),
    st.integers(1, 65535),
    st.integers(0, 9),
    st.sampled_from(["", "tcp", "udp"]),
)
endpoints = st.builds(Endpoint, hosts, st.integers(1, 65535))
names = st.from_regex(r"[A-Za-zäöü0-9_.+-][A-Za-zäöü0-9_.+# -]{0,14}", fullmatch=True).map(str.strip)
entries = st.one_of(
    names,
    names.map(lambda name: f"/opt/{name}"),
    names.map(lambda name: f"C:\\Program Files\\{name}\\"),
    names.map(lambda name: f"@{name}"),
).filter(lambda entry: " #" not in entry and entry.strip("@/\\. ") and not looks_like_key(entry))


def distinct(items: st.SearchStrategy[object], most: int = 4) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, unique=True, max_size=most).map(tuple)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    own, *others = draw(st.lists(raw_keys, min_size=1, max_size=4, unique=True))
    given_addresses = draw(st.lists(interfaces, min_size=1, max_size=3, unique=True))
    has_v6 = any(address.version == 6 for address in given_addresses)
    routed = draw(st.lists(networks, unique=True, max_size=8))
    peers = [
        Peer(
            public_key=PublicKey(other),
            preshared_key=draw(st.none() | raw_keys.map(PresharedKey)),
            allowed_ips=tuple(routed[number :: len(others)]),
            disallowed_ips=draw(distinct(networks)),  # type: ignore[arg-type]  # the strategy's items are these
            endpoint=draw(st.none() | endpoints),
            persistent_keepalive=draw(st.integers(0, 65535)),
            allowed_apps=draw(distinct(entries)),  # type: ignore[arg-type]
            disallowed_apps=draw(distinct(entries)),  # type: ignore[arg-type]
            allowed_app_trees=draw(distinct(entries)),  # type: ignore[arg-type]
            disallowed_app_trees=draw(distinct(entries)),  # type: ignore[arg-type]
            allowed_domains=draw(distinct(domains)),  # type: ignore[arg-type]
            disallowed_domains=draw(distinct(domains)),  # type: ignore[arg-type]
            allow_inbound=draw(distinct(port_ranges)),  # type: ignore[arg-type]
        )
        for number, other in enumerate(others)
    ]
    interface = Interface(
        private_key=PrivateKey(own),
        addresses=tuple(given_addresses),
        dns=draw(distinct(addresses)),  # type: ignore[arg-type]
        dns_search=draw(distinct(labels)),  # type: ignore[arg-type]
        mtu=draw(st.none() | st.integers(1280 if has_v6 else 576, 65535)),
        listen_port=draw(st.integers(0, 65535)),
        bypass_lan=draw(st.booleans()),
        unused=draw(st.sampled_from([(), (("Table", "off"),), (("PostUp", "echo '#1' # x"), ("FwMark", "0x1"))])),
    )
    return Config("wg0", "wg0.conf", interface, tuple(peers))


@settings(max_examples=60, deadline=None)
@given(configs())
def test_parsing_what_was_printed_gives_it_back(config: Config) -> None:
    assert parse(format_config(config, secrets=True), config.file) == config


@settings(max_examples=60, deadline=None)
@given(configs(), st.randoms(use_true_random=False))
def test_how_a_file_is_written_does_not_matter(config: Config, chance: random.Random) -> None:
    """Case, blanks, comments, ends of lines and the order within a section."""
    lines = []
    for line in format_config(config, secrets=True).splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith(("PostUp", "#@ws:")):
            key = chance.choice([key, key.upper(), key.lower(), f"  {key}\t"])
            line = f"{key}={chance.choice(['', ' ', '  '])}{value.strip()}{chance.choice(['', '#x', ' # a = b'])}"
        elif line.startswith("#@ws:"):
            line = chance.choice([line, f" {line}", line.removeprefix("#@ws:"), f"{line} # x"])
        lines.append(line)
        if chance.random() < 0.3:
            lines.append(chance.choice(["", "# comment", "; comment", "   "]))
    text = chance.choice(["", "\ufeff"]) + chance.choice(["\n", "\r\n"]).join(lines)
    assert parse(text, config.file) == config


def mistakes_and_notices(text: str) -> list[ConfigError | Notice]:
    try:
        return list(parse(text, "wg0.conf").notices)
    except ConfigError as error:
        return [error, *error.others]


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    for mistake in mistakes_and_notices(text):
        assert str(mistake).isprintable()


GRAMMAR = st.lists(
    st.one_of(
        st.sampled_from(
            ["[Interface]", "[Peer]", "[", "]", "=", " ", "\n", ",", "#", "#@ws:", "/", ":", "off", "@", "\\"]
        ),
        st.sampled_from(["PrivateKey", "Address", "DNS", "MTU", "AllowedIPs", "AllowedApps", "Endpoint", "PostUp"]),
        st.sampled_from(
            [PRIVATE_KEY, "10.0.0.0/8", "::/0", "fe80::1%x", "99999999999999999999", "\ufeff", "\x00", "٣"]
        ),
    ),
    max_size=60,
).map("".join)


@settings(deadline=None)
@given(GRAMMAR)
def test_any_mixture_of_the_formats_pieces_is_a_config_or_a_config_error(text: str) -> None:
    for mistake in mistakes_and_notices(text):
        assert PRIVATE_KEY[:20] not in f"{mistake}{mistake.remedy}"


@settings(deadline=None)
@given(st.text() | GRAMMAR)
def test_any_text_is_settings_or_a_config_error(text: str) -> None:
    told = ""
    try:
        parse_settings(text, "settings.yaml")
    except ConfigError as error:
        told = "".join(f"{each}{each.remedy}" for each in (error, *error.others))
    assert PRIVATE_KEY[:20] not in told


FULL = conf(
    f"PresharedKey = {PRESHARED_KEY}\nEndpoint = a:1\nPersistentKeepalive = 25\nAllowedIPs = ::/0, 10.0.0.0/8\n"
    "DisallowedIPs = 10.1.0.0/16\nAllowedApps = chrome, @web\nDisallowedApps = /opt/x\n",
    interface="Address = 10.0.0.2\nDNS = 1.1.1.1\nMTU = 1420\nListenPort = 1\nTable = off\nPostUp = x",
)


@pytest.mark.parametrize("separator", ["", " ", ",", "=", ":", "/", "[", "]", '"', "#@ws:", "\n"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(FULL)), st.integers(0, 10), st.integers(0, 12), st.integers(0, 1000))
def test_a_key_pasted_anywhere_is_in_no_message(separator: str, at: int, cut: int, drop: int, seed: int) -> None:
    key = b64encode(random.Random(seed).randbytes(32)).decode()
    pasted = separator + key[cut // 2 : 44 - drop] + separator
    if PUBLIC_KEY not in (text := FULL[:at] + pasted + FULL[at:]):
        return  # it went into the public key, which is shown freely
    told = "".join(f"{mistake}{mistake.remedy}" for mistake in mistakes_and_notices(text))
    assert not [start for start in range(0, 24, 4) if key[start + 6 : start + 18] in told]
