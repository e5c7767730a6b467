import os
import sys
from pathlib import Path

import pytest

from tests.support.configs import BOTH_ADDRESSES, EVERYTHING, PRIVATE_KEY, PUBLIC_KEY, PUBLIC_KEY_2, conf, config
from wiresock_py.config import Config, parse
from wiresock_py.config.advice import advise, advise_apps, advise_file, advise_together

COMPLETE = f"{EVERYTHING}\nEndpoint = a:1"


def messages(given: Config) -> list[str]:
    return [str(notice) for notice in advise(given)]


def test_a_complete_config_gives_no_advice() -> None:
    assert messages(config(COMPLETE)) == []


@pytest.mark.parametrize(
    ("peer", "place", "expected"),
    [
        ("Endpoint = a:1", "wg0.conf:4", "no AllowedIPs"),
        (EVERYTHING, "wg0.conf:4", "no Endpoint"),
        (f"{COMPLETE}\nAllowedApps = a\nDisallowedApps = b", "wg0.conf:9:18", "DisallowedApps changes nothing"),
    ],
)
def test_a_peer_that_does_not_do_what_it_seems_to_is_told(peer: str, place: str, expected: str) -> None:
    (message,) = messages(config(peer))
    assert message.startswith(place)
    assert expected in message


def test_a_file_without_a_peer_is_told() -> None:
    assert "no [Peer]" in messages(config())[0]


def test_a_prefix_of_a_family_the_tunnel_has_no_address_of_is_told() -> None:
    (message,) = messages(config(COMPLETE, interface="Address = 10.0.0.2"))
    assert message.startswith("wg0.conf:6:25: the tunnel has no IPv6 address")


def test_a_dns_server_outside_the_tunnel_is_told() -> None:
    given = config("Endpoint = a:1\nAllowedIPs = 10.0.0.0/8", interface="Address = 10.0.0.2\nDNS = 10.0.0.1, 1.1.1.1")
    (message,) = messages(given)
    assert message.startswith("wg0.conf:4:17: DNS server 1.1.1.1 cannot be reached")


@pytest.mark.parametrize(
    ("domains", "expected"),
    [("corp.test", "search domain corp.test is not used"), ("a.test, b.test", "search domains a.test, b.test are not")],
)
def test_search_domains_are_told_to_be_of_no_use(domains: str, expected: str) -> None:
    (message,) = messages(config(COMPLETE, interface=f"Address = 10.0.0.2, fd00::2\nDNS = 1.1.1.1, {domains}"))
    assert message.startswith("wg0.conf:4:16: ")
    assert expected in message


@pytest.mark.skipif(os.name != "posix", reason="for other systems: permission bits are a matter of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_file_others_can_read_is_told_with_the_remedy(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "wg0.conf"
    file.touch()
    file.chmod(mode)
    (notice,) = advise_file(file)
    assert notice.remedy == f"chmod 600 {file}"
    file.chmod(0o600)
    assert list(advise_file(file)) == []


@pytest.mark.skipif(os.name != "posix", reason="for other systems: scripts and links as POSIX has them")
class TestApps:
    def apps(self, *entries: str) -> list[str]:
        return [notice.message for notice in advise_apps(config(f"AllowedApps = {', '.join(entries)}"))]

    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        assert "there is no" in self.apps(f"{tmp_path}/none")[0]

    def test_a_script_is_told(self, tmp_path: Path) -> None:
        script = tmp_path / "chromium"
        script.write_text("#!/bin/sh\nexec /usr/lib/chromium/chromium\n")
        assert "is a script" in self.apps(str(script))[0]

    def test_programs_folders_names_groups_and_the_other_systems_paths_are_fine(self, tmp_path: Path) -> None:
        program = tmp_path / "app"
        program.write_bytes(b"\x7fELF")
        assert self.apps(str(program), f"{tmp_path}/", "surely-not-installed", "@group", "C:\\x\\y.exe", "a/b") == []

    def test_a_name_that_is_a_link_to_another_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real, link = tmp_path / "nc.openbsd", tmp_path / "netcat"
        real.write_bytes(b"\x7fELF")
        real.chmod(0o755)
        link.symlink_to(real)
        monkeypatch.setenv("PATH", str(tmp_path))
        (message,) = self.apps("netcat", "nc.openbsd")
        assert "'netcat' is a link to 'nc.openbsd'" in message

    def test_names_without_commas_between_are_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("curl", "Web Browser"):
            (tmp_path / name).write_bytes(b"\x7fELF")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        (message,) = self.apps("curl firefox", "Web Browser", "Google Chrome")
        assert "'curl firefox' is one name with blanks in it" in message


def test_two_tunnels_that_a_server_takes_for_one_client_are_told() -> None:
    (notice,) = advise_together([config(COMPLETE), config("AllowedIPs = 10.0.0.0/8", file="b.conf")])
    assert str(notice) == (
        "b.conf:4: a server takes this tunnel and that of wg0.conf for one client: they share their keys"
    )


def test_a_file_given_twice_is_told_as_that_alone() -> None:
    (notice,) = advise_together([config(COMPLETE), config(COMPLETE)])
    assert str(notice) == "wg0.conf: this file is given twice"


def test_two_tunnels_of_one_name_are_told() -> None:
    (notice,) = advise_together([config(), config(file="b/wg0.conf")])
    assert str(notice) == "b/wg0.conf: wg0.conf is a tunnel of the name 'wg0', too"


def test_tunnels_to_different_servers_may_share_a_key_and_a_server_may_know_two_keys() -> None:
    elsewhere = parse(conf(COMPLETE).replace(PUBLIC_KEY, PUBLIC_KEY_2), "b.conf")
    another_key = parse(conf(COMPLETE).replace(PRIVATE_KEY, PUBLIC_KEY_2), "c.conf")
    assert not list(advise_together([config(COMPLETE), elsewhere, another_key]))


def test_two_tunnels_on_one_port_are_told() -> None:
    listening = f"{BOTH_ADDRESSES}\nListenPort = 51820"
    (notice,) = advise_together([config(interface=listening), config(interface=listening, file="b.conf")])
    assert str(notice) == "b.conf: wg0.conf has the same ListenPort 51820"
    assert not list(advise_together([config(), config(file="b.conf")]))


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: access lists are Windows'")
def test_on_windows_those_that_the_access_list_lets_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiresock_py.config.advice.access_list", lambda _path: "O:BAD:(A;;FA;;;SY)(A;;FR;;;BU)")
    (notice,) = advise_file(tmp_path / "wg0.conf")
    assert notice.message == "Users may read this file, and it holds a private key"
    assert notice.remedy.startswith(f'icacls "{tmp_path / "wg0.conf"}" /inheritance:r')
    assert list(advise_file(tmp_path / "wg0.conf.dpapi")) == []
