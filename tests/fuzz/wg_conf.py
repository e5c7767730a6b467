"""wg0.conf files of anybody: a configuration, which printed reads the same, or a ConfigError that shows no key."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tests.support.configs import EVERYTHING, PRESHARED_KEY, conf
from wiresock_py.config import Peer, format_config, parse
from wiresock_py.config.text import looks_like_key
from wiresock_py.errors import ConfigError
from wiresock_py.rules import Rules

ROOT = Path(__file__).parents[2]
FILE = "wg0.conf"


def run(data: bytes) -> None:
    text = data.decode(errors="replace").replace("\0", "")  # as read_text lets it through
    try:
        config = parse(text, FILE)
    except ConfigError as error:
        shown = [f"{each} {each.remedy}" for each in error.all()]
    else:
        shown = [f"{notice}" for notice in config.notices]
        again = parse(format_config(config, secrets=True), FILE)
        assert (again.interface.addresses, again.interface.dns) == (config.interface.addresses, config.interface.dns)
        assert list(map(_meaning, again.peers)) == list(map(_meaning, config.peers))
        with suppress(ConfigError):  # app groups are in settings.yaml
            Rules((config,)).plan()
    assert not any(map(looks_like_key, shown)), shown


def _meaning(peer: Peer) -> Peer:
    """Without the places in the file."""
    return replace(peer, line=0, places={})


def seeds() -> Iterator[bytes]:
    yield conf(EVERYTHING).encode()
    yield conf(
        f"{EVERYTHING}\nEndpoint = vpn.example.org:51820\nPresharedKey = {PRESHARED_KEY}\nPersistentKeepalive = 25",
        "AllowedIPs = 10.0.0.0/8\n#@ws:AllowedApps = chrome, /opt/games/, @browsers\nAllowInbound = 80/tcp, 443",
    ).encode()
    for file in sorted((ROOT / "configs").glob("*.conf")):
        yield file.read_bytes()
