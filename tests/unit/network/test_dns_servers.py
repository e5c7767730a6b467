import ipaddress
import sys
from pathlib import Path

import pytest

from wiresock_py.network import dns_servers as module
from wiresock_py.network.dns_servers import Resolver, hosts_entry, name_servers, resolvers, search_domains


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setattr(module, "BEHIND_THE_STUB", (tmp_path / "systemd", tmp_path / "dnsmasq"))
    return tmp_path


def test_servers_are_read_in_order_without_comments_and_nonsense(files: Path) -> None:
    (files / "resolv.conf").write_text(
        "# by hand\n; old\nnameserver 192.0.2.1 # first\nnameserver\nnameserver not-an-address\n"
        "  nameserver\tfe80::1%eth0\noptions ndots:2\nnameserver 2001:db8::53\n"
    )
    assert [str(server) for server in resolvers()] == ["192.0.2.1", "fe80::1%eth0", "2001:db8::53"]


def test_behind_a_stub_the_servers_it_asks_are_taken(files: Path) -> None:
    (files / "resolv.conf").write_text("nameserver 127.0.0.53\noptions edns0 trust-ad\n")
    (files / "systemd").write_text("nameserver 192.0.2.7\n")
    (files / "dnsmasq").write_text("nameserver 192.0.2.8\n")
    assert resolvers() == (Resolver("192.0.2.7"),)
    (files / "systemd").unlink()
    assert resolvers() == (Resolver("192.0.2.8"),)
    (files / "dnsmasq").unlink()
    assert resolvers() == (Resolver("127.0.0.53"),)


def test_a_loopback_server_beside_others_is_no_stub(files: Path) -> None:
    (files / "resolv.conf").write_text("nameserver 127.0.0.1\nnameserver 192.0.2.1\n")
    (files / "systemd").write_text("nameserver 192.0.2.7\n")
    assert [server.address for server in resolvers()] == ["127.0.0.1", "192.0.2.1"]


@pytest.mark.parametrize("content", [None, "", "search example.net\n"])
def test_a_file_that_names_nobody_means_this_host(files: Path, content: str | None) -> None:
    if content is not None:
        (files / "resolv.conf").write_text(content)
    assert resolvers() == (Resolver("127.0.0.1"),)


def test_bytes_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_bytes(b"\xff\xfe\0nameserver\nnameserver 192.0.2.1\n")
    assert name_servers(file) == (Resolver("192.0.2.1"),)


def test_the_last_search_line_counts(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("domain old.example\nsearch a.example b.example.\n")
    assert search_domains(file) == ("a.example", "b.example")


def test_the_hosts_file_knows_names_and_aliases_whatever_their_case(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# hosts\n192.0.2.4 vpn.example VPN # us\n2001:db8::4 vpn.example\nnonsense vpn.example\n")
    both = (ipaddress.ip_address("192.0.2.4"), ipaddress.ip_address("2001:db8::4"))
    assert hosts_entry("Vpn.Example.", file) == both
    assert hosts_entry("vpn", file) == both[:1]
    assert hosts_entry("us", file) == ()
    assert hosts_entry("example", file) == ()
    assert hosts_entry("vpn", tmp_path / "missing") == ()


def test_a_server_on_another_port_says_so() -> None:
    assert str(Resolver("192.0.2.1", 5353)) == "192.0.2.1 port 5353"
