from dataclasses import fields
from pathlib import Path

import pytest

from tests.support.configs import conf
from wiresock_py.config import Settings, parse
from wiresock_py.config.keys import FOREIGN, KEYS
from wiresock_py.config.text import Text, looks_like_key

# wg(8), wg-quick(8) and the extensions: what the documentation lists.
DOCUMENTED = {
    "Interface": "PrivateKey Address DNS MTU ListenPort Table FwMark SaveConfig PreUp PostUp PreDown PostDown "
    "BypassLan Via",
    "Peer": "PublicKey PresharedKey Endpoint PersistentKeepalive AllowedIPs DisallowedIPs AllowedApps DisallowedApps "
    "AllowedAppTrees DisallowedAppTrees AllowedDomains DisallowedDomains AllowInbound",
}


def test_every_key_of_wg_and_wg_quick_and_the_extensions_is_known() -> None:
    for section, names in DOCUMENTED.items():
        assert {kind.name for kind in KEYS.values() if kind.section == section} == set(names.split())


def test_keys_of_other_programs_are_not_ours() -> None:
    assert not FOREIGN.keys() & KEYS.keys()


def test_wiresocks_name_of_the_lan_switch_is_read_as_ours() -> None:
    config = parse(conf(interface="Address = 10.0.0.2\n#@ws:BypassLanTraffic = True"), "f")
    assert config.interface.bypass_lan
    assert not parse(conf(), "f").interface.bypass_lan


def test_no_name_of_a_key_is_taken_for_a_secret() -> None:
    names = [*(kind.name for kind in KEYS.values()), *FOREIGN, "Socks5ProxyAllTraffic", "BypassLanTraffic"]
    assert not [name for name in names if looks_like_key(name)]


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("MTU", "1420 # bytes", "1420"),
        ("MTU", "1420#bytes", "1420"),
        ("AllowedApps", "C:\\C#\\app # mine", "C:\\C#\\app"),
        ("AllowedApps", "# none", ""),
        ("AllowedApps", "a\t#b", "a"),
        ("PostUp", "echo '#' # hi", "echo '#' # hi"),
    ],
)
def test_where_a_comment_starts_depends_on_the_key(key: str, raw: str, value: str) -> None:
    assert KEYS[key.lower()].value(Text(raw, "f", 1, 1)).text == value


@pytest.mark.parametrize("key", ["Table = off", "FwMark = 0x1", "SaveConfig = true", "PostUp = iptables -A x # y"])
def test_a_key_without_use_here_is_kept_and_told(key: str) -> None:
    config = parse(conf(interface=f"Address = 10.0.0.2\n{key}"), "f")
    name, _, value = key.partition(" = ")
    assert config.interface.unused == ((name, value),)
    assert [notice.line for notice in config.notices if f"{name} is not used" in notice.message] == [4]


def test_the_documentation_names_every_key_and_setting() -> None:
    text = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
    names = [*(kind.name for kind in KEYS.values()), *(each.name for each in fields(Settings))]
    assert [name for name in names if f"`{name}`" not in text] == []
