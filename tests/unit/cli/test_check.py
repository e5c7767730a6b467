import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.configs import EVERYTHING, PRESHARED_KEY, PRIVATE_KEY, PUBLIC_KEY, conf
from wiresock_py.cli import main
from wiresock_py.errors import EXIT_BACKEND

PEER = f"""PresharedKey = {PRESHARED_KEY}
Endpoint = vpn.example.net:51820
{EVERYTHING}
DisallowedIPs = 192.168.1.0/24
AllowedApps = @web"""


@pytest.fixture(autouse=True)
def no_shared_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this host has."""
    monkeypatch.setattr("wiresock_py.cli.check.shared_resolver", lambda: "")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    config, settings = tmp_path / "wg0.conf", tmp_path / "settings.yaml"
    config.write_text(conf(PEER, interface="Address = 10.66.66.2/32, fd00::2\nDNS = 1.1.1.1\nTable = off"))
    config.chmod(0o600)
    settings.write_text("app_groups: {web: [chrome]}")
    return [str(config), "--settings", str(settings)]


def test_a_right_file_is_summed_up_on_stdout_and_noticed_on_stderr(files: list[str]) -> None:
    result = CliRunner().invoke(main, ["check", *files])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{files[0]}: ok",
        "  tunnel wg0: 10.66.66.2/32, fd00::2/128, DNS 1.1.1.1",
        "  peer vpn.example.net:51820: 0.0.0.0/0, ::/0 but not 192.168.1.0/24",
        "    for @web",
    ]
    assert result.stderr == f"warning: {files[0]}:5:1: Table is not used: this client changes no routes\n"


def test_what_a_family_without_an_address_means_is_said(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(conf("AllowedIPs = 0.0.0.0/0\nDisallowedApps = a", interface="Address = 10.0.0.2"))
    result = CliRunner().invoke(main, ["check", str(file)])
    assert "for every app but a" in result.stdout
    assert "IPv6: the tunnel has no address" in result.stdout


def test_of_long_lists_the_first_items_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(conf(f"AllowedIPs = {', '.join(f'10.0.{n}.0/24' for n in range(100))}"))
    assert "10.0.0.0/24, 10.0.1.0/24, " in (stdout := CliRunner().invoke(main, ["check", str(file)]).stdout)
    assert "10.0.11.0/24 and 88 more\n" in stdout
    (tunnel,) = json.loads(CliRunner().invoke(main, ["check", "--json", str(file)]).stdout)["tunnels"]
    assert len(tunnel["peers"][0]["allowed_ips"]) == 100


def test_the_json_is_the_effective_configuration_without_secrets(files: list[str]) -> None:
    result = CliRunner().invoke(main, ["check", "--json", *files])
    for key in (PRIVATE_KEY, PRESHARED_KEY):
        assert key not in result.output
    given = json.loads(result.stdout)
    (tunnel,) = given["tunnels"]
    assert tunnel["name"] == "wg0"
    assert tunnel["addresses"] == ["10.66.66.2/32", "fd00::2/128"]
    assert tunnel["peers"] == [
        {
            "public_key": PUBLIC_KEY,
            "has_preshared_key": True,
            "endpoint": "vpn.example.net:51820",
            "persistent_keepalive": 0,
            "allowed_ips": ["0.0.0.0/0", "::/0"],
            "disallowed_ips": ["192.168.1.0/24"],
            "allowed_apps": ["@web"],
            "disallowed_apps": [],
            "allowed_app_trees": [],
            "disallowed_app_trees": [],
            "allowed_domains": [],
            "disallowed_domains": [],
            "allow_inbound": [],
        }
    ]
    assert [warning["line"] for warning in tunnel["warnings"]] == [5]
    assert given["settings"]["app_groups"] == {"web": ["chrome"]}
    assert given["plan"]["capture"] == ["0.0.0.0/0", "::/0"]
    assert "192.168.1.0/24" in given["plan"]["leave"]
    assert given["plan"]["dns"] is True


def test_a_tunnel_through_another_says_through_which(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.conf", tmp_path / "outer.conf"
    inner.write_text(conf("AllowedIPs = 10.0.0.0/8", interface="Address = 10.0.0.2\nVia = outer"))
    outer.write_text(conf("AllowedIPs = 11.0.0.0/8"))
    assert "  through the tunnel outer\n" in CliRunner().invoke(main, ["check", str(inner), str(outer)]).stdout
    given = json.loads(CliRunner().invoke(main, ["check", "--json", str(inner), str(outer)]).stdout)
    assert [tunnel["via"] for tunnel in given["tunnels"]] == ["outer", None]


def test_an_unknown_group_is_an_error(files: list[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.touch()
    result = CliRunner().invoke(main, ["check", files[0], "--settings", str(empty)])
    assert result.exit_code == 3
    assert ":12:15: AllowedApps: found '@web'" in result.stderr


def test_several_files_make_one_plan(tmp_path: Path) -> None:
    for name, prefix in (("a", "10.0.0.0/8"), ("b", "11.0.0.0/8")):
        (tmp_path / f"{name}.conf").write_text(conf(f"AllowedIPs = {prefix}"))
    result = CliRunner().invoke(main, ["check", "--json", str(tmp_path / "a.conf"), str(tmp_path / "b.conf")])
    assert json.loads(result.stdout)["plan"]["capture"] == ["10.0.0.0/8", "11.0.0.0/8"]


def test_every_kind_of_list_is_summed_up(tmp_path: Path) -> None:
    file, settings = tmp_path / "wg0.conf", tmp_path / "settings.yaml"
    lines = "AllowedAppTrees = steam\nAllowedDomains = a.test\nAllowInbound = 22/tcp, 8000-8100"
    file.write_text(conf(f"AllowedIPs = 0.0.0.0/0\n{lines}", interface="Address = 10.0.0.2\nBypassLan = true"))
    settings.write_text("rules: [{apps: ssh, action: direct}, {action: tunnel other}]")
    result = CliRunner().invoke(main, ["check", str(file), "--settings", str(settings)])
    assert result.stdout.splitlines()[3:] == [
        "    for steam and what it starts",
        "    to a.test",
        "    which may open 22/tcp, 8000-8100 here",
        "  private networks, and those this machine is connected to, stay outside",
        "  IPv6: the tunnel has no address, so these apps' IPv6 internet traffic is blocked",
        "rules of settings.yaml, before these:",
        "  {apps: ssh, action: direct}",
        "  {action: tunnel other}",
    ]
    assert "settings.yaml:1: there is no tunnel other in this run, so this rule is passed over" in result.stderr
    given = json.loads(CliRunner().invoke(main, ["check", "--json", str(file), "--settings", str(settings)]).stdout)
    assert given["settings"]["rules"] == ["{apps: ssh, action: direct}", "{action: tunnel other}"]
    assert given["tunnels"][0]["peers"][0]["allow_inbound"] == ["22/tcp", "8000-8100"]


def test_a_backend_that_does_not_exist_is_an_error(files: list[str], tmp_path: Path) -> None:
    settings = tmp_path / "wrong.yaml"
    settings.write_text("backend: wintun\napp_groups: {web: [chrome]}")
    result = CliRunner().invoke(main, ["check", files[0], "--settings", str(settings)])
    assert result.exit_code == EXIT_BACKEND
    assert "no backend 'wintun' (use one of: " in result.stderr
    assert result.stdout == ""


def test_what_shadows_what_is_told_across_files(tmp_path: Path) -> None:
    for name, peer in (("a", "AllowedIPs = 0.0.0.0/0"), ("b", "AllowedIPs = 10.0.0.0/8\nAllowedApps = chrome")):
        (tmp_path / f"{name}.conf").write_text(conf(peer))
    files = [str(tmp_path / f"{name}.conf") for name in ("a", "b")]
    stderr = CliRunner().invoke(main, ["check", *files]).stderr
    assert f"{files[1]}:6: AllowedIPs = 10.0.0.0/8 is never met, for this comes first" in stderr
    assert f": AllowedIPs = 0.0.0.0/0 ({files[0]}:6)" in stderr
    assert "is never met" not in CliRunner().invoke(main, ["check", *reversed(files)]).stderr


def test_the_json_has_what_is_told_of_several_files_together(tmp_path: Path) -> None:
    files = [tmp_path / "a.conf", tmp_path / "b.conf"]
    for file in files:  # one key pair, and the same rules
        file.write_text(conf("AllowedIPs = 10.0.0.0/8"))
    given = json.loads(CliRunner().invoke(main, ["check", "--json", *map(str, files)]).stdout)
    (keys, rules) = given["warnings"]
    assert "they share their keys" in keys["message"]
    assert "is never met" in rules["message"]
    for warning in (keys, rules):
        assert warning["file"] == str(files[1])
        assert warning["line"] > 0


def test_a_resolver_that_asks_outside_for_the_tunnels_apps_is_told(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wiresock_py.cli.check.shared_resolver", lambda: "Dnscache")
    assert "programs here ask Dnscache for names" in CliRunner().invoke(main, ["check", *files]).stderr
