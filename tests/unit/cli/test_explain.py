import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.configs import conf
from wiresock_py.cli import main

CONFIG = str(Path(__file__).parents[3] / "configs" / "chrome.conf")


def explain(app: str, to: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["explain", CONFIG, "--app", app, "--to", to, *options])


def line_of(text: str) -> int:
    lines = Path(CONFIG).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(text))


@pytest.mark.parametrize(
    ("app", "to", "options", "verdict"),
    [
        ("chrome", "1.2.3.4", (), "tunnel chrome, peer vpn.example.net:51820"),
        ("/opt/google/chrome/chrome", "[2001:db8::1]:80", (), "tunnel chrome, peer vpn.example.net:51820"),
        ("chrome", "2001:db8::1", ("--protocol", "icmp"), "tunnel chrome, peer vpn.example.net:51820"),
        ("chrome", "[2001:db8::1]", (), "tunnel chrome, peer vpn.example.net:51820"),
        ("chromedriver", "1.2.3.4", (), "direct"),
        ("SYSTEM", "1.2.3.4", (), "direct"),
        ("chrome", "192.168.1.1", (), "direct"),
        (
            "chrome",
            "192.168.1.1:53",
            ("--protocol", "udp"),
            "tunnel chrome, peer vpn.example.net:51820, to its DNS server",
        ),
        ("chrome", "[::1]:53", (), "blocked by chrome"),
    ],
)
def test_the_verdict_is_the_first_line(app: str, to: str, options: tuple[str, ...], verdict: str) -> None:
    result = explain(app, to, *options)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == verdict


def test_the_lines_that_decided_follow() -> None:
    assert explain("chrome", "1.2.3.4").stdout.splitlines()[1:] == [
        f"  AllowedIPs = 0.0.0.0/0 ({CONFIG}:{line_of('AllowedIPs')})",
        f"  AllowedApps = chrome ({CONFIG}:{line_of('AllowedApps')})",
    ]
    assert explain("chrome", "192.168.1.1").stdout.splitlines()[1:] == [
        f"  DisallowedIPs = 192.168.1.0/24 ({CONFIG}:{line_of('DisallowedIPs')})"
    ]


def test_the_json_says_the_same() -> None:
    given = json.loads(explain("chrome", "1.2.3.4", "--json").stdout)
    assert (given["route"], given["tunnel"], given["dns"]) == ("tunnel", "chrome", False)
    assert len(given["peer"]) == 44
    assert [reason["line"] for reason in given["reasons"]] == [line_of("AllowedIPs"), line_of("AllowedApps")]
    direct = json.loads(explain("curl", "1.2.3.4", "--json").stdout)
    assert (direct["route"], direct["tunnel"], direct["peer"]) == ("direct", None, None)


@pytest.mark.parametrize("to", ["example.com", "1.2.3", "1.2.3.4:x", "1.2.3.4:65536", "[1.2.3.4", ""])
def test_something_that_is_no_address_is_wrong_usage(to: str) -> None:
    result = explain("chrome", to)
    assert result.exit_code == 2
    assert "--to" in result.stderr


def test_names_and_ancestors_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(conf("AllowedIPs = 0.0.0.0/0\nAllowedAppTrees = steam\nAllowedDomains = a.test"))
    given = ["explain", str(file), "--app", "game", "--to", "1.2.3.4"]
    named = CliRunner().invoke(main, [*given, "--child-of", "steam", "--name", "WWW.a.test."]).stdout
    assert named.startswith("tunnel wg0")
    assert CliRunner().invoke(main, [*given, "--name", "www.a.test"]).stdout.startswith("direct")
    unseen = CliRunner().invoke(main, [*given, "--child-of", "steam"]).stdout
    assert "its name is not known, so not in AllowedDomains" in unseen
    assert "not by DNS over HTTPS" in unseen
    assert "DNS over HTTPS" not in named


def test_a_rule_of_the_settings_is_told_with_its_line(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("rules:\n- {apps: curl, ports: 25, action: block}\n")
    result = explain("curl", "1.2.3.4:25", "--settings", str(settings))
    assert result.stdout.splitlines()[:2] == ["blocked", f"  {{apps: curl, ports: 25, action: block}} ({settings}:2)"]
    assert explain("curl", "1.2.3.4:26", "--settings", str(settings)).stdout.startswith("direct")
