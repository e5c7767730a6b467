import pytest

from tests.support.configs import PUBLIC_KEY, conf
from wiresock_py.config import parse
from wiresock_py.errors import ConfigError


def fails(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    return caught.value


@pytest.mark.parametrize(
    ("line", "section", "remedy"),
    [
        ("AllowedApps = chrome", "[Interface]", "move the line below [Peer]"),
        ("#@ws:DisallowedIPs = 10.0.0.0/8", "[Interface]", "move the line below [Peer]"),
        ("Endpoint = a:1", "[Interface]", "move the line below [Peer]"),
    ],
)
def test_a_key_in_the_wrong_section_is_told_where_it_belongs(line: str, section: str, remedy: str) -> None:
    error = fails(conf(interface=f"Address = 10.0.0.2\n{line}"))
    assert f"in {section}, but it belongs to [Peer]" in str(error)
    assert (error.line, error.remedy) == (4, remedy)


def test_an_interface_key_in_a_peer_is_an_error_too() -> None:
    assert "DNS in [Peer], but it belongs to [Interface]" in str(fails(conf("DNS = 1.1.1.1")))


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("AllowedIP", "AllowedIPs"),
        ("alowedapps", "AllowedApps"),
        ("PreShareKey", "PresharedKey"),
        ("Adress", "Address"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(key: str, nearest: str) -> None:
    error = fails(conf(f"{key} = x"))
    assert (error.line, error.column) == (6, 1)
    assert f"found '{key}'" in str(error)
    assert error.remedy == f"did you mean {nearest}?"


@pytest.mark.parametrize("line", ["Jc = 4", "#@ws:Socks5Proxy = a:1", "H1 = 5"])
def test_a_key_of_another_program_is_an_error_that_says_whose_it_is(line: str) -> None:
    error = fails(conf(interface=f"Address = 10.0.0.2\n{line}"))
    assert "AmneziaWG" in str(error) or "WireSock" in str(error)


@pytest.mark.parametrize("header", ["[Peers]", "[Intreface]", "[]", "[Peer.1]"])
def test_an_unknown_section_is_one_error_whatever_it_holds(header: str) -> None:
    error = fails(conf() + f"{header}\nNonsense = 1\nEndpoint = x\n")
    assert "expected [Interface] or [Peer]" in str(error)
    assert error.others == ()


def test_a_setting_before_any_section_is_an_error() -> None:
    error = fails("MTU = 1420\n" + conf())
    assert (error.line, error.column) == (1, 1)
    assert "before any section" in str(error)


def test_keys_and_sections_are_known_in_any_case() -> None:
    text = conf("AllowedIPs = ::/0").replace("[Peer]", "[PEER]").replace("Address", "aDDRESS")
    assert parse(text, "f") == parse(conf("AllowedIPs = ::/0"), "f")


def test_lists_may_be_repeated_and_say_each_item_once() -> None:
    once = parse(conf("AllowedIPs = 10.0.0.0/8, 10.0.0.0/8, ::/0\nAllowedApps = a, b"), "f")
    assert parse(conf("AllowedIPs = 10.0.0.0/8\nAllowedApps = a\nAllowedIPs = ::/0\nAllowedApps = b, a"), "f") == once


def test_of_a_repeated_scalar_the_last_counts_and_a_notice_tells() -> None:
    config = parse(conf(interface="Address = 10.0.0.2\nMTU = 1300\nMTU = 1400"), "f")
    assert config.interface.mtu == 1400
    assert [(n.line, n.message) for n in config.notices if "MTU" in n.message] == [
        (5, "MTU stands in line 4 too; this line counts")
    ]


def test_two_interface_sections_are_one() -> None:
    text = conf("AllowedIPs = ::/0") + "[Interface]\nDNS = 1.1.1.1\n"
    assert parse(text, "f") == parse(
        conf("AllowedIPs = ::/0", interface="Address = 10.66.66.2/32, fd42:42:42::2/128\nDNS = 1.1.1.1"), "f"
    )


@pytest.mark.parametrize("key", ["MTU", "PrivateKey", "ListenPort"])
def test_a_key_without_a_value_is_an_error(key: str) -> None:
    assert f"found {key} without a value" in str(fails(conf(interface=f"Address = 10.0.0.2\n{key} =")))


def test_empty_address_lists_are_taken_as_wg_takes_them() -> None:
    config = parse(conf("AllowedIPs =\nDisallowedIPs =", interface="Address = 10.0.0.2\nDNS ="), "f")
    assert config.peers[0].allowed_ips == ()


def test_host_bits_behind_a_prefix_are_told() -> None:
    config = parse(conf("AllowedIPs = ::/0, 192.168.1.5/24"), "f")
    assert [(n.line, n.column) for n in config.notices if "bits set" in n.message] == [(6, 20)]


@pytest.mark.parametrize("value", [f'"{PUBLIC_KEY}"', f"'{PUBLIC_KEY}'", f"“{PUBLIC_KEY}”"])
def test_a_quoted_value_is_an_error_about_the_quotes(value: str) -> None:
    error = fails(conf(f"PresharedKey = {value}"))
    assert "without quotation marks" in str(error)
    assert error.column == 16


def test_every_item_knows_its_place() -> None:
    config = parse(conf("AllowedIPs = ::/0, 10.0.0.0/8\n#@ws:AllowedApps = a, @b"), "f")
    peer = config.peers[0]
    assert peer.line == 4
    assert peer.place("AllowedIPs", peer.allowed_ips[1]) == (6, 20)
    assert peer.place("AllowedApps", "@b") == (7, 23)
    assert peer.place("AllowedApps") == (7, 23)
    assert peer.place("Endpoint") == (0, 0)
