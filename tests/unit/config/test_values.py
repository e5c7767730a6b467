from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from tests.support.configs import PUBLIC_KEY
from wiresock_py.config import Endpoint, PortRange, values
from wiresock_py.config.text import Text
from wiresock_py.crypto.keys import PublicKey
from wiresock_py.errors import ConfigError

Read = Callable[[Text], Iterator[tuple[Text, Any]]]


def read(reader: Read, text: str) -> list[Any]:
    return [value for _, value in reader(Text(text, "f", 1, 1))]


def fails(reader: Read, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(reader, text)
    return caught.value


def test_a_key_is_44_characters_of_canonical_base64() -> None:
    reader = values.key(PublicKey)
    assert read(reader, PUBLIC_KEY) == [PublicKey.from_base64(PUBLIC_KEY)]
    assert read(reader, f"{PUBLIC_KEY[:20]} {PUBLIC_KEY[20:]}") == read(reader, PUBLIC_KEY)
    assert "found 43 characters" in str(fails(reader, PUBLIC_KEY[:-1]))
    assert "mistyped" in str(fails(reader, PUBLIC_KEY[:-2] + "h="))
    assert "no valid key" in str(fails(reader, "!" + PUBLIC_KEY[1:]))


@pytest.mark.parametrize("text", ["575", "65536", "x", "-1", "1_000", "0x600", "٥٧٦", "9" * 5000, "1420.0"])
def test_a_number_is_decimal_and_in_its_range(text: str) -> None:
    assert "expected a number from 576 to 65535" in str(fails(values.number(576, 65535), text))


def test_the_ends_of_a_range_are_in_it() -> None:
    reader = values.number(576, 65535)
    assert [*read(reader, "576"), *read(reader, "65535"), *read(reader, "01420")] == [576, 65535, 1420]


@pytest.mark.parametrize("text", ["off", "Off", "OFF", "0"])
def test_off_is_zero_where_the_key_has_it(text: str) -> None:
    assert read(values.number(0, 65535, off="off"), text) == [0]


def test_addresses_may_lack_a_mask_and_be_separated_as_for_wg_quick() -> None:
    expected = [ip_interface("10.0.0.2/24"), ip_interface("10.0.0.3/32"), ip_interface("fd00::2/128")]
    assert read(values.interface_addresses, "10.0.0.2/24, 10.0.0.3 fd00::2,") == expected


def test_prefixes_lose_their_host_bits_and_a_plus() -> None:
    expected = [ip_network("10.0.0.0/8"), ip_network("192.168.1.1/32"), ip_network("fd00::/8")]
    assert read(values.prefixes, "10.1.2.3/8,192.168.1.1 , +FD00::/ 8") == expected


def test_a_list_of_prefixes_may_be_empty() -> None:
    assert read(values.prefixes, "") == []


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("10.0.0.0/33", 1, "a prefix length from 0 to 32"),
        ("::/0, fd00::/129", 7, "a prefix length from 0 to 128"),
        ("10.0.0.0/255.0.0.0", 1, "a prefix length from 0 to 32"),
        ("10.0.0.0/", 1, "a prefix length from 0 to 32"),
        ("10.0.0.0/8, 10.1", 13, "an IP address or prefix"),
        ("010.0.0.0/8", 1, "an IP address or prefix"),
        ("fe80::1%eth0", 1, "an IP address or prefix"),
        ("example.com", 1, "an IP address or prefix"),
        ("10.0.0.0/8,,::/0", 12, "between"),
        ("10.0.0.0/8,", 12, "between"),
        ("-10.0.0.0/8", 1, "an address or prefix"),
    ],
)
def test_a_faulty_prefix_is_named_with_its_column(text: str, column: int, expected: str) -> None:
    error = fails(values.prefixes, text)
    assert expected in str(error)
    assert error.column == column


@pytest.mark.parametrize(
    ("reader", "text", "columns"),
    [
        (values.interface_addresses, "a, 10.0.0.1 b", [1, 13]),
        (values.prefixes, "10.0.0.0/33, ::/0, , -::1", [1, 20, 22]),
        (values.dns_servers, "1.1.1, 8.8.8.8 x:y", [1, 16]),
        (values.apps, "~/x, chrome, *", [1, 14]),
        (values.domains, "a.b, 1.2.3.4, https://a", [6, 15]),
        (values.ports, "0, 22, x", [1, 8]),
    ],
)
def test_every_faulty_item_of_a_list_is_told(reader: Read, text: str, columns: list[int]) -> None:
    assert [error.column for error in fails(reader, text).all()] == columns


def test_prefixes_without_commas_between_get_the_remedy() -> None:
    assert fails(values.prefixes, "10.0.0.0/8 fd00::/8").remedy == "separate items with commas"


def test_dns_servers_are_addresses_and_search_domains_names() -> None:
    expected = [ip_address("1.1.1.1"), ip_address("2606:4700::1111"), "office.example", "local"]
    assert read(values.dns_servers, "1.1.1.1,2606:4700::1111 office.example, local") == expected


@pytest.mark.parametrize("text", ["1.1.1.300", "1.1.1", "2606:", "a/b", "1.1.1.1:53"])
def test_a_mistyped_server_is_no_search_domain(text: str) -> None:
    assert "expected an IP address or a search domain" in str(fails(values.dns_servers, text))


def test_a_key_is_no_search_domain_and_is_not_shown() -> None:
    key = "zQcs2L5vn2KsTAnCggbn41WUqms0L10KOl5IQvq0KPc"
    assert key not in str(fails(values.dns_servers, f"{key}, 1.1.1.1"))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("vpn.example.net:51820", "vpn.example.net", 51820),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
        ("[fe80::1%eth0]:51820", "fe80::1%eth0", 51820),
        ("bücher.example:51820", "bücher.example", 51820),
        ("my_host : 51820", "my_host", 51820),
    ],
)
def test_an_endpoint_is_host_and_port(text: str, host: str, port: int) -> None:
    (endpoint,) = read(values.endpoint, text)
    assert endpoint == Endpoint(host, port)
    assert read(values.endpoint, str(endpoint)) == [endpoint]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vpn.example.net", "host:port"),
        ("[2001:db8::1]", "host:port"),
        ("2001:db8::1:51820", "in brackets"),
        ("[vpn.example.net]:51820", "an IPv6 address"),
        ("192.0.2.300:51820", "a host name or an IP address"),
        (":51820", "a host name or an IP address"),
        ("udp://vpn.example.net:51820", "a host name or an IP address"),
        ("a@b:51820", "a host name or an IP address"),
        ("vpn.example.net:0", "from 1 to 65535"),
        ("vpn.example.net:65536", "from 1 to 65535"),
        ("vpn.example.net:", "from 1 to 65535"),
        ("vpn.example.net:wireguard", "from 1 to 65535"),
        ("a" * 254 + ":51820", "a host name or an IP address"),
    ],
)
def test_a_faulty_endpoint_says_what_is_expected(text: str, expected: str) -> None:
    assert expected in str(fails(values.endpoint, text))


def test_apps_are_separated_by_commas_alone() -> None:
    text = "chrome, Epic Games Launcher.exe,C:\\Games\\, @browsers, /home/o'brien/C#/app"
    expected = ["chrome", "Epic Games Launcher.exe", "C:\\Games\\", "@browsers", "/home/o'brien/C#/app"]
    assert read(values.apps, text) == expected


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('"chrome"', 1),
        ("chrome, “firefox”", 9),
        ("chrome, 'firefox'", 9),
        ("chrome’", 7),
        ("„chrome“", 1),
    ],
)
def test_quotation_marks_around_apps_are_errors(text: str, column: int) -> None:
    error = fails(values.apps, text)
    assert "without quotation marks" in str(error)
    assert error.column == column


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "at least one"),
        ("a,,b", "two commas"),
        ("chrome,", "two commas"),
        ("ch*", "wildcards are not known"),
        ("/opt/?/x", "wildcards are not known"),
        ("chrome; firefox", "expected an app's name"),
        ("~/bin/app", "not expanded"),
        ("%ProgramFiles%\\app", "not expanded"),
        ("$HOME/app", "not expanded"),
        ("./app", "not expanded"),
        ("..\\app", "not expanded"),
        ("@", "@group"),
        ("/", "@group"),
    ],
)
def test_an_entry_that_could_never_match_is_an_error(text: str, expected: str) -> None:
    assert expected in str(fails(values.apps, text))


def test_a_key_pasted_among_apps_is_an_error_that_does_not_show_it() -> None:
    error = fails(values.apps, f"chrome, {PUBLIC_KEY}")
    assert PUBLIC_KEY[:8] not in str(error)


@pytest.mark.parametrize("path", ["/opt/x", "C:\\x", "c:/x", "\\\\server\\share\\x"])
def test_rooted_paths_of_both_systems_are_known(path: str) -> None:
    assert values.is_path(path)
    assert values.is_rooted(path)


@pytest.mark.parametrize("path", ["steamapps/common", "a\\b"])
def test_other_paths_have_no_root(path: str) -> None:
    assert values.is_path(path)
    assert not values.is_rooted(path)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("FALSE", False)])
def test_a_switch_is_true_or_false_in_any_case(text: str, value: bool) -> None:
    assert read(values.switch, text) == [value]


@pytest.mark.parametrize(
    ("text", "remedy"), [("on", "write true"), ("0", "write false"), ("treu", "did you mean true?")]
)
def test_other_words_for_a_switch_are_errors_that_name_the_right_one(text: str, remedy: str) -> None:
    assert fails(values.switch, text).remedy == remedy


def test_domains_are_small_ascii_names_with_or_without_a_wildcard() -> None:
    given = "Example.COM, *.example.com, büro.example., _sip.a-b.test, localhost"
    expected = ["example.com", "*.example.com", "xn--bro-hoa.example", "_sip.a-b.test", "localhost"]
    assert read(values.domains, given) == expected


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "found no domain"),
        ("a.test,,b.test", 8, "two commas in a row"),
        ("a.test, *", 9, "stands for whole parts"),
        ("a.*.test", 1, "stands for whole parts"),
        ("https://a.test", 1, "expected a domain"),
        ("a.test:80", 1, "expected a domain"),
        ("10.0.0.1", 1, "found the address"),
        ("2001:db8::1", 1, "expected a domain"),
        ("a..test", 1, "expected a domain such as"),
        ("-a.test", 1, "expected a domain such as"),
        ("a b.test", 1, "expected a domain such as"),
        ("a" * 64 + ".test", 1, "expected a domain such as"),
        (".".join(["a" * 60] * 5), 1, "expected a domain such as"),
        ("*.", 1, "expected a domain such as"),
        ("\u2028.test", 2, "expected a domain such as"),
        ('"a.test"', 1, "quotation mark"),
    ],
)
def test_what_is_no_domain_is_an_error_at_its_place(text: str, column: int, expected: str) -> None:
    error = fails(values.domains, text)
    assert expected in str(error)
    assert error.column == column


def test_ports_are_single_ones_and_ranges_of_tcp_udp_or_both() -> None:
    expected = [PortRange(22, 22, "tcp"), PortRange(8000, 8100), PortRange(53, 53, "udp")]
    assert read(values.ports, "22/tcp, 8000 - 8100, 53/UDP") == expected
    assert [str(each) for each in expected] == ["22/tcp", "8000-8100", "53/udp"]


@pytest.mark.parametrize("text", ["", "0", "65536", "9-8", "22/icmp", "ssh", "22,", "1-2-3", "٢٢"])
def test_what_is_no_port_is_an_error(text: str) -> None:
    assert "expected" in str(fails(values.ports, text))


@pytest.mark.parametrize(("text", "name"), [("outer", "outer"), ("outer.conf", "outer"), ("my vpn", "my vpn")])
def test_a_tunnels_name_is_that_of_its_file(text: str, name: str) -> None:
    assert read(values.tunnel_name, text) == [name]


@pytest.mark.parametrize("text", [".conf", "folder/outer", "C:\\outer"])
def test_a_path_is_no_tunnels_name(text: str) -> None:
    assert "expected a tunnel's name" in str(fails(values.tunnel_name, text))
