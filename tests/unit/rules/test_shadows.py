import pytest

from tests.support.configs import config
from wiresock_py.config import Config, Settings
from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.rules import Rules


def told(*configs: Config, rules: str = "[]") -> list[str]:
    settings: Settings = parse_settings(f"rules: {rules}", "s.yaml")
    return [str(notice) for notice in Rules(configs, settings, resolve=lambda path: path).notices()]


def two(first: str, second: str) -> list[str]:
    return told(config(first, file="a.conf"), config(second, file="b.conf"))


def test_a_file_whose_prefix_an_earlier_one_takes_for_every_app_is_told_with_both_lines() -> None:
    assert two("AllowedIPs = 0.0.0.0/0", "AllowedIPs = 10.0.0.0/8") == [
        "b.conf:6: AllowedIPs = 10.0.0.0/8 is never met, for this comes first: AllowedIPs = 0.0.0.0/0 (a.conf:6)"
    ]
    assert two("AllowedIPs = 10.0.0.0/8", "AllowedIPs = 0.0.0.0/0") == []


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        ("AllowedApps = a, b", "AllowedApps = B", True),
        ("AllowedApps = a", "AllowedApps = a, b", False),
        ("AllowedApps = a", "", False),
        ("", "AllowedApps = a", True),
        ("DisallowedApps = a", "DisallowedApps = a, b", True),
        ("DisallowedApps = a, b", "DisallowedApps = a", False),
        ("DisallowedApps = x", "AllowedApps = /opt/x", False),
        ("AllowedApps = a", "AllowedAppTrees = a", False),
        ("AllowedDomains = a.test", "AllowedDomains = x.a.test, *.a.test", True),
        ("AllowedDomains = *.a.test", "AllowedDomains = a.test", False),
        ("AllowedDomains = a.test", "", False),
        ("DisallowedDomains = a.test", "AllowedDomains = b.test", False),
        ("AllowedApps = a\nAllowedDomains = a.test", "AllowedApps = a", False),
        ("AllowedApps = a", "AllowedApps = a\nAllowedDomains = a.test", True),
    ],
)
def test_lists_shadow_lists_only_where_that_is_certain(first: str, second: str, shadowed: bool) -> None:
    assert bool(two(f"AllowedIPs = 0.0.0.0/0\n{first}", f"AllowedIPs = 0.0.0.0/0\n{second}")) is shadowed


def test_what_is_met_somewhere_is_met() -> None:
    assert two("AllowedIPs = 0.0.0.0/0\nDisallowedIPs = 10.1.0.0/16", "AllowedIPs = 10.0.0.0/8") == []


def test_a_rule_behind_one_that_takes_as_much_is_told() -> None:
    rules = "[{apps: [a, b], ports: '1-99', action: direct}, {apps: a, ports: 25/tcp, action: block}]"
    (message,) = told(rules=rules)
    assert message.startswith("s.yaml:1: {apps: a, ports: 25/tcp, action: block} is never met, for this comes first: ")
    assert message.endswith("{apps: [a, b], ports: 1-99, action: direct} (s.yaml:1)")


@pytest.mark.parametrize(
    "rules",
    [
        "[{apps: a, ports: 25, action: direct}, {apps: a, action: block}]",
        "[{apps: a, protocol: tcp, action: direct}, {apps: a, protocol: udp, action: block}]",
        "[{to: 10.1.0.0/16, action: direct}, {to: 10.0.0.0/8, action: block}]",
        "[{domains: x.a.test, action: direct}, {domains: a.test, action: block}]",
    ],
)
def test_a_narrower_rule_before_a_wider_one_is_as_it_should_be(rules: str) -> None:
    assert told(rules=rules) == []


def test_a_rule_for_everything_shadows_the_files_and_what_comes_after_it() -> None:
    messages = told(config("AllowedIPs = 10.0.0.0/8"), rules="[{action: direct}, {apps: a, action: block}]")
    assert len(messages) == 2
    assert all(message.endswith("first: {action: direct} (s.yaml:1)") for message in messages)


def test_a_prefix_that_its_own_file_leaves_out_is_told() -> None:
    given = config("AllowedIPs = 10.1.0.0/16, 0.0.0.0/0\nDisallowedIPs = 10.0.0.0/8")
    (message,) = told(given)
    assert message.startswith("wg0.conf:6: AllowedIPs = 10.1.0.0/16 is never met, ")
    assert message.endswith(": DisallowedIPs = 10.0.0.0/8 (wg0.conf:7)")
    local = config("AllowedIPs = 192.168.0.0/16, 10.1.0.0/16", interface="Address = 10.0.0.2\nBypassLan = true")
    assert ["BypassLan leaves out 192.168.0.0/16" in message for message in told(local)] == [True]


def test_a_prefix_that_no_tunnel_carries_is_told_with_what_was_meant() -> None:
    rules = Rules([config("AllowedIPs = 0.0.0.0")], resolve=lambda path: path)
    (notice,) = rules.notices()
    assert "0.0.0.0/8 (this host, this link, multicast) is never tunnelled" in notice.message
    assert "0.0.0.0/0" in notice.remedy


def test_a_prefix_partly_left_out_is_met() -> None:
    assert told(config("AllowedIPs = 0.0.0.0/0, 10.0.0.0/8\nDisallowedIPs = 10.1.0.0/16")) == []


def test_a_version_that_the_tunnel_lacks_changes_nothing() -> None:
    v4 = "Address = 10.0.0.2"
    assert told(config("AllowedIPs = 0.0.0.0/0, ::/0", interface=v4)) == []
    given = [config("AllowedIPs = ::/0", interface=v4, file=f"{name}.conf") for name in ("a", "b")]
    assert [message.partition(":")[0] for message in told(*given)] == ["b.conf"]


def test_4096_prefixes_in_each_of_two_files_are_compared_in_time() -> None:
    prefixes = ", ".join(f"10.{n >> 4}.{(n & 15) << 4}.0/20" for n in range(4096))
    assert len(two(f"AllowedIPs = {prefixes}", f"AllowedIPs = {prefixes}")) == 4096
