import re
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.support.configs import PRESHARED_KEY, PRIVATE_KEY, PUBLIC_KEY, PUBLIC_KEY_2, conf
from wiresock_py.config import Config, Endpoint, Interface, Peer, parse
from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.errors import EXIT_CONFIG, ConfigError

ZEROS = "A" * 43 + "="

EVERYTHING = f"""\ufeff# a comment\r
[interface]\r
PRIVATEKEY={PRIVATE_KEY}   # secret\r
Address = 10.66.66.2/24, fd42:42:42::2\r
Address = 10.66.66.3\r
DNS = 94.140.14.14, office.example\r
MTU = 1420\r
ListenPort = 51821\r
\r
[Peer]\r
PublicKey = {PUBLIC_KEY}\r
PresharedKey = {PRESHARED_KEY}\r
AllowedIPs = 0.0.0.0/1, 128.0.0.0/1\r
Endpoint = [2001:db8::1]:51820\r
PersistentKeepalive = 25\r
#@ws:AllowedApps = chrome, C:\\Games\\\r
DisallowedApps = steam\r
\t#@ws:DisallowedIPs = 192.168.1.0/24\r
; the second one
[Peer]
publickey = {PUBLIC_KEY_2}
allowedips = ::/0
persistentkeepalive = OFF
"""


def fails(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "wg0.conf")
    return caught.value


def test_a_file_with_everything_is_read_as_it_stands() -> None:
    assert parse(EVERYTHING, "/etc/wireguard/wg0.conf") == Config(
        name="wg0",
        file="/etc/wireguard/wg0.conf",
        interface=Interface(
            private_key=PrivateKey.from_base64(PRIVATE_KEY),
            addresses=(ip_interface("10.66.66.2/24"), ip_interface("fd42:42:42::2/128"), ip_interface("10.66.66.3/32")),
            dns=(ip_address("94.140.14.14"),),
            dns_search=("office.example",),
            mtu=1420,
            listen_port=51821,
        ),
        peers=(
            Peer(
                public_key=PublicKey.from_base64(PUBLIC_KEY),
                preshared_key=PresharedKey.from_base64(PRESHARED_KEY),
                allowed_ips=(ip_network("0.0.0.0/1"), ip_network("128.0.0.0/1")),
                disallowed_ips=(ip_network("192.168.1.0/24"),),
                endpoint=Endpoint("2001:db8::1", 51820),
                persistent_keepalive=25,
                allowed_apps=("chrome", "C:\\Games\\"),
                disallowed_apps=("steam",),
            ),
            Peer(public_key=PublicKey.from_base64(PUBLIC_KEY_2), allowed_ips=(ip_network("::/0"),)),
        ),
    )


def test_every_mistake_is_told_in_the_order_of_the_file() -> None:
    error = fails(conf("AllowedIPs = x\nEndpoint = y\nAllowedApps = 'z'", interface="MTU = 1\nJc = 1"))
    assert [(e.line, e.column) for e in (error, *error.others)] == [(3, 7), (4, 1), (7, 14), (8, 12), (9, 15)]
    assert error.exit_code == EXIT_CONFIG
    assert str(error).startswith("wg0.conf:3:7: MTU: found '1'")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[Interface]\n", "[Peer]\n"])
def test_an_interface_needs_a_private_key_and_an_address(text: str) -> None:
    error = fails(text)
    messages = [str(e) for e in (error, *error.others)]
    assert any("no PrivateKey" in message for message in messages)
    assert any("no Address" in message for message in messages)


def test_each_peer_needs_a_public_key() -> None:
    error = fails(conf("AllowedIPs = ::/0") + "[Peer]\nAllowedIPs = 10.0.0.0/8\n")
    assert "no PublicKey" in str(error)
    assert error.line == 7


def test_a_faulty_key_is_not_called_missing_too() -> None:
    error = fails(conf().replace(PRIVATE_KEY, "short"))
    assert "found 5 characters" in str(error)
    assert error.others == ()


@pytest.mark.parametrize(
    ("written", "misspelt"),
    [
        ("[Interface]\n", ""),
        ("[Interface]", "[Interfaec]"),
        ("[Peer]", "[Peer"),
        ("PrivateKey =", "PrivateKey:"),
        ("PrivateKey =", "PrivatKey ="),
        ("Address =", "Adresse ="),
        ("PublicKey =", "[Interface]\nPublicKey ="),
    ],
)
def test_what_stands_in_a_line_that_was_not_understood_is_not_called_missing(written: str, misspelt: str) -> None:
    error = fails(conf("").replace(written, misspelt, 1))
    assert "found no" not in str(error)
    assert error.others == ()


def test_keys_of_zeros_are_no_keys() -> None:
    assert "PublicKey of zeros" in str(fails(conf("").replace(PUBLIC_KEY, ZEROS)))
    assert "PrivateKey of zeros" in str(fails(conf().replace(PRIVATE_KEY, ZEROS)))
    config = parse(conf(f"PresharedKey = {ZEROS}"), "f")
    assert config.peers[0].preshared_key is None


def test_a_private_key_in_the_place_of_the_public_one_is_an_error_that_does_not_show_it() -> None:
    error = fails(conf("").replace(PUBLIC_KEY, PRIVATE_KEY))
    assert "this file's PrivateKey" in str(error)
    assert PRIVATE_KEY not in str(error)


def test_the_own_public_key_in_the_place_of_the_servers_is_an_error() -> None:
    own = PrivateKey.from_base64(PRIVATE_KEY).public_key().to_base64()
    error = fails(conf("").replace(PUBLIC_KEY, own))
    assert "PublicKey of this file's PrivateKey" in str(error)
    assert (error.line, bool(error.remedy)) == (5, True)


def test_a_prefix_in_two_peers_is_an_error_that_names_both_lines() -> None:
    error = fails(conf("AllowedIPs = ::/0, 10.0.0.0/8", "AllowedIPs = 10.1.2.3/8"))
    assert (error.line, error.column) == (9, 14)
    assert "found 10.0.0.0/8, which line 6 gives to the [Peer] of line 4" in str(error)


def test_a_longer_prefix_in_another_peer_is_no_error() -> None:
    assert len(parse(conf("AllowedIPs = 10.0.0.0/8", "AllowedIPs = 10.0.0.0/16"), "f").peers) == 2


def test_one_public_key_in_two_peers_is_an_error_that_names_both_lines() -> None:
    error = fails(conf("AllowedIPs = ::/0", "AllowedIPs = ::/0").replace(PUBLIC_KEY_2, PUBLIC_KEY))
    assert error.line == 8
    assert "the [Peer] of line 4" in str(error)
    assert error.others == ()  # that their prefixes are the same is no mistake of its own


def test_an_mtu_below_1280_is_an_error_with_an_ipv6_address_only() -> None:
    assert parse(conf(interface="Address = 10.0.0.2\nMTU = 576"), "f").interface.mtu == 576
    error = fails(conf(interface="Address = 10.0.0.2, fd00::2\nMTU = 1279"))
    assert "MTU: found 1279, expected at least 1280" in str(error)
    assert (error.line, error.column) == (4, 7)


def test_the_tunnel_is_named_after_the_file() -> None:
    assert parse(conf(), "some/where/office.conf").name == "office"


def test_a_config_is_not_printed_with_its_keys() -> None:
    text = repr(parse(conf(f"PresharedKey = {PRESHARED_KEY}"), "f"))
    assert PRIVATE_KEY not in text
    assert PRESHARED_KEY not in text


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("AllowedApps = chrome", "found AllowedApps in [Interface], but it belongs to [Peer]"),
        ("#@ws:DisallowedApps = chrome", "found DisallowedApps in [Interface], but it belongs to [Peer]"),
        ("AllowedDomains = a.test", "found AllowedDomains in [Interface], but it belongs to [Peer]"),
    ],
)
def test_complaint_4_a_list_in_the_wrong_section_is_an_error_and_never_ignored(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse(conf("AllowedIPs = 0.0.0.0/0", interface=f"Address = 10.0.0.2\n{line}"), "f")


def test_complaint_4_paths_with_blanks_hashes_and_either_slash_are_taken_as_they_are() -> None:
    entries = ("C:\\Program Files (x86)\\Ep#c Games\\", "/opt/my games", "D:/x/y.exe")
    (peer,) = parse(conf(f"AllowedApps = {', '.join(entries)}"), "f").peers
    assert peer.allowed_apps == entries


@pytest.mark.parametrize(
    "text",
    [
        conf("AllowedIPs = 10.0.0.1", interface="Address = 10.0.0.2"),  # no masks
        conf("Endpoint = a:1", interface="Address = 10.0.0.2"),  # no AllowedIPs
        conf("AllowedIPs = 0.0.0.0/0,::/0\nPersistentKeepalive = OFF", interface="Address=10.0.0.2/24,fd00::2/64"),
        conf(interface="ADDRESS = 10.0.0.2\nlistenport = 0\nFwMark = 0x10\nTable = auto\nSaveConfig = false"),
        conf("AllowedIPs =\nAllowedIPs = 10.0.0.0/8", interface="Address = 10.0.0.2\nDNS = 1.1.1.1 office.example"),
        "[Peer]\nPublicKey = " + PUBLIC_KEY + "\n" + conf(interface="Address = 10.0.0.2"),
    ],
)
def test_complaint_17_what_wg_quick_accepts_is_accepted(text: str) -> None:
    parse(text, "f")
