import os
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.support.configs import config
from wiresock_py.config import Config, Settings, load, load_settings
from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.errors import ConfigError
from wiresock_py.flow import SYSTEM, App, Route
from wiresock_py.rules import Decision, Rules

EXAMPLES = Path(__file__).parents[3] / "configs"
TCP, UDP, ICMP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP
CHROME = App(7, 1.0, "/opt/google/chrome/chrome")
CURL = App(8, 1.0, "/usr/bin/curl")
TUNNEL, BLOCK, DIRECT = Route.TUNNEL, Route.BLOCK, Route.DIRECT


def rules(*configs: Config, settings: Settings | None = None) -> Rules:
    return Rules(configs, settings, resolve=lambda path: path)


def stating(text: str) -> Settings:
    return parse_settings(text, "settings.yaml")


def decide(of: Rules, app: App, to: str, protocol: int = TCP, port: int = 443, *names: str) -> Decision:
    return of.decide(app, ip_address(to).packed, protocol, port, names=names)


def route(of: Rules, app: App, to: str, protocol: int = TCP, port: int = 443) -> Route:
    return decide(of, app, to, protocol, port).route


EXAMPLE = rules(load(EXAMPLES / "chrome.conf"))


@pytest.mark.parametrize(
    ("app", "to", "protocol", "port", "expected"),
    [
        (CHROME, "93.184.216.34", TCP, 443, TUNNEL),
        (CHROME, "2606:2800::1", UDP, 443, TUNNEL),
        (CHROME, "93.184.216.34", ICMP, 0, TUNNEL),
        (CHROME, "192.168.1.10", TCP, 443, DIRECT),
        (CHROME, "192.168.2.10", TCP, 443, TUNNEL),
        (CHROME, "224.0.0.251", UDP, 5353, DIRECT),
        (CHROME, "127.0.0.1", TCP, 80, DIRECT),
        (CHROME, "127.0.0.53", UDP, 53, TUNNEL),
        (CHROME, "192.168.1.1", UDP, 53, TUNNEL),
        (CHROME, "2606:4700::1111", UDP, 53, TUNNEL),
        (CHROME, "2606:4700::1111", TCP, 53, BLOCK),
        (CURL, "93.184.216.34", TCP, 443, DIRECT),
        (CURL, "192.168.1.1", UDP, 53, DIRECT),
        (SYSTEM, "93.184.216.34", ICMP, 0, DIRECT),
    ],
)
def test_the_example_of_the_readme(app: App, to: str, protocol: int, port: int, expected: Route) -> None:
    assert route(EXAMPLE, app, to, protocol, port) is expected


def test_a_decision_names_tunnel_peer_and_reason() -> None:
    given = rules(
        config("AllowedIPs = 10.0.0.0/8"),
        config("AllowedIPs = 11.0.0.0/8", "AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome"),
    )
    assert decide(given, CHROME, "1.1.1.1") == (TUNNEL, 1, 1, "AllowedApps = chrome (wg0.conf:10)", False, False)
    assert decide(given, CURL, "10.0.0.1") == (TUNNEL, 0, 0, "AllowedIPs = 10.0.0.0/8 (wg0.conf:6)", False, False)
    assert decide(given, CURL, "1.1.1.1") == (DIRECT, -1, -1, "not in AllowedApps (wg0.conf:10)", False, False)


def test_a_dns_decision_is_marked() -> None:
    given = rules(config("AllowedIPs = 10.0.0.0/8", interface="Address = 10.0.0.2\nDNS = 10.0.0.53"))
    decision = decide(given, CURL, "127.0.0.53", UDP, 53)
    assert (decision.route, decision.tunnel, decision.peer, decision.dns) == (TUNNEL, 0, 0, True)
    assert not decide(given, CURL, "10.0.0.53", UDP, 5353).dns


def test_of_several_tunnels_the_first_that_wants_app_and_destination_decides() -> None:
    by_app = rules(
        config("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome"),
        config("AllowedIPs = 0.0.0.0/0\nAllowedApps = curl, chrome"),
    )
    assert decide(by_app, CHROME, "1.1.1.1").tunnel == 0
    assert decide(by_app, CURL, "1.1.1.1").tunnel == 1
    assert decide(by_app, SYSTEM, "1.1.1.1").tunnel == -1
    by_destination = rules(config("AllowedIPs = 10.0.0.0/8"), config("AllowedIPs = 0.0.0.0/0, 10.1.0.0/16"))
    assert decide(by_destination, CURL, "10.1.0.1").tunnel == 0
    assert decide(by_destination, CURL, "11.1.0.1").tunnel == 1


def test_each_tunnel_has_its_own_dns() -> None:
    given = rules(
        config("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome", interface="Address = 10.0.0.2\nDNS = 1.1.1.1"),
        config("AllowedIPs = 0.0.0.0/0\nAllowedApps = curl"),
    )
    assert decide(given, CHROME, "8.8.8.8", UDP, 53)[:3] == (TUNNEL, 0, 0)
    assert decide(given, CURL, "8.8.8.8", UDP, 53) == (TUNNEL, 1, 0, "AllowedApps = curl (wg0.conf:7)", False, False)


def test_the_blocked_family_is_blocked_for_tunnelled_apps_only() -> None:
    given = rules(config("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome", interface="Address = 10.0.0.2"))
    assert given.blocked_versions(0) == (6,)
    decision = decide(given, CHROME, "2001:db8::1")
    assert decision[:3] == (BLOCK, 0, 0)
    assert "no IPv6 address" in decision.reason
    assert route(given, CURL, "2001:db8::1") is DIRECT


@pytest.mark.parametrize(
    ("peer", "to", "port", "needs"),
    [
        ("AllowedIPs = 0.0.0.0/0", "1.1.1.1", 443, False),
        ("AllowedIPs = 0.0.0.0/0\nAllowedApps = a", "1.1.1.1", 443, True),
        ("AllowedIPs = 0.0.0.0/0\nDisallowedApps = a", "1.1.1.1", 443, True),
        ("AllowedIPs = 10.0.0.0/8\nAllowedApps = a", "1.1.1.1", 443, False),
        ("AllowedIPs = 10.0.0.0/8\nAllowedApps = a", "1.1.1.1", 53, True),
        ("AllowedIPs = 10.0.0.0/8", "1.1.1.1", 53, False),
        ("AllowedIPs = 0.0.0.0/0\nAllowedApps = a", "127.0.0.1", 443, False),
        ("AllowedIPs = 0.0.0.0/0\nAllowedApps = a\nDisallowedIPs = 1.0.0.0/8", "1.1.1.1", 443, False),
        ("AllowedIPs = 0.0.0.0/0\nAllowedApps = a", "2001:db8::1", 443, True),
    ],
)
def test_the_owner_is_needed_only_where_an_app_list_is_asked(peer: str, to: str, port: int, needs: bool) -> None:
    given = rules(config(peer, interface="Address = 10.0.0.2\nDNS = 10.0.0.53"))
    assert given.needs_owner(ip_address(to).packed, UDP, port) is needs


def test_a_decision_for_everyone_shadows_the_lists_behind_it() -> None:
    given = rules(config("AllowedIPs = 0.0.0.0/0"), config("AllowedIPs = 0.0.0.0/0\nAllowedApps = a"))
    assert not given.needs_owner(ip_address("1.1.1.1").packed, TCP, 443)


def test_the_plan_lists_a_prefix_only_where_it_changes_something() -> None:
    plan = rules(
        config(
            "AllowedIPs = 0.0.0.0/0, 10.0.0.0/8\nDisallowedIPs = 192.168.0.0/16, 192.168.1.0/24",
            "AllowedIPs = 192.168.1.0/28",
        )
    ).plan()
    assert {str(net) for net in plan.capture} == {"0.0.0.0/0", "192.168.1.0/28"}
    leave = {str(net) for net in plan.leave}
    assert "192.168.0.0/16" in leave
    assert "192.168.1.0/24" not in leave
    assert leave >= {"127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "0.0.0.0/8", "255.255.255.255/32"}
    assert not plan.dns


def test_the_plan_of_one_network_is_that_network() -> None:
    plan = rules(config("AllowedIPs = 10.0.0.0/8", interface="Address = 10.0.0.2\nDNS = 10.0.0.53")).plan()
    assert ([str(net) for net in plan.capture], plan.leave, plan.dns) == (["10.0.0.0/8"], (), True)


def test_the_plan_holds_the_blocked_family() -> None:
    plan = rules(config("AllowedIPs = 0.0.0.0/0\nDisallowedIPs = 2001:db8::/32", interface="Address = 10.0.0.2")).plan()
    assert {str(net) for net in plan.capture if net.version == 6} == {"2000::/3", "64:ff9b::/96", "64:ff9b:1::/48"}
    assert "2001:db8::/32" in {str(net) for net in plan.leave}


def test_without_tunnels_nothing_is_captured_and_all_is_direct() -> None:
    assert rules().plan() == rules(config()).plan()
    assert rules().plan().capture == ()
    assert route(rules(), CURL, "1.1.1.1") is DIRECT


def test_an_explanation_tells_each_step_with_its_line() -> None:
    given = rules(
        config("AllowedIPs = 0.0.0.0/0\nDisallowedIPs = 1.0.0.0/8", file="a.conf"),
        config("AllowedIPs = 1.1.1.0/24\nDisallowedApps = chrome", file="b.conf"),
    )
    explanation = given.explain(CHROME, ip_address("1.1.1.1").packed, TCP, 443)
    assert explanation.decision == decide(given, CHROME, "1.1.1.1")
    assert [str(reason) for reason in explanation.reasons] == [
        "DisallowedIPs = 1.0.0.0/8 (a.conf:7)",
        "AllowedIPs = 1.1.1.0/24 (b.conf:6)",
        "DisallowedApps = chrome (b.conf:7)",
    ]
    assert [str(reason) for reason in given.explain(CURL, ip_address("9.9.9.9").packed, TCP, 443).reasons] == [
        "AllowedIPs = 0.0.0.0/0 (a.conf:6)",
        "no app list: every app (a.conf:4)",
    ]


def test_groups_come_from_the_settings() -> None:
    given = config("AllowedIPs = 0.0.0.0/0\nAllowedApps = @web")
    assert route(rules(given, settings=Settings(app_groups={"web": ("chrome",)})), CHROME, "1.1.1.1") is TUNNEL
    with pytest.raises(ConfigError, match="found '@web'"):
        rules(given)


def test_settings_can_leave_dns_to_the_system() -> None:
    given = config("AllowedIPs = 0.0.0.0/0", interface="Address = 10.0.0.2\nDNS = 1.1.1.1")
    decision = decide(rules(given, settings=Settings(dns="system")), CURL, "8.8.8.8", UDP, 53)
    assert (decision.route, decision.dns) == (TUNNEL, False)
    assert not rules(given, settings=Settings(dns="system")).plan().dns


WORK = config("AllowedIPs = 10.0.0.0/8\nAllowedApps = nobody", interface="Address = 10.0.0.2", file="work.conf")
HOME = config("AllowedIPs = 0.0.0.0/0", interface="Address = 10.0.0.3", file="home.conf")


def test_the_first_stated_rule_that_is_met_decides_before_the_tunnels_own_keys() -> None:
    settings = stating(
        "rules:\n- {apps: chrome, to: 10.1.0.0/16, action: direct}\n"
        "- {to: 10.0.0.0/8, action: tunnel work}\n- {apps: chrome, ports: 25, action: block}\n"
    )
    given = rules(WORK, HOME, settings=settings)
    assert decide(given, CHROME, "10.1.2.3")[:3] == (DIRECT, -1, -1)
    assert decide(given, CURL, "10.1.2.3")[:4] == (
        TUNNEL, 0, 0, "{to: 10.0.0.0/8, action: tunnel work} (settings.yaml:3)"
    )  # fmt: skip
    assert decide(given, CHROME, "1.1.1.1", TCP, 25)[:2] == (BLOCK, -1)
    assert decide(given, CHROME, "1.1.1.1", TCP, 26)[:2] == (TUNNEL, 1)
    assert decide(given, CURL, "1.1.1.1", TCP, 25)[:2] == (TUNNEL, 1)


def test_these_addresses_for_every_app_and_this_app_only_to_these_addresses_are_one_line_each() -> None:
    every_app = rules(WORK, settings=stating("rules: [{to: 10.2.0.0/16, action: tunnel work}]"))
    assert [route(every_app, app, "10.2.0.1") for app in (CHROME, CURL, SYSTEM)] == [TUNNEL] * 3
    assert route(every_app, CHROME, "10.3.0.1") is DIRECT
    one_app = rules(WORK, settings=stating("rules: [{apps: chrome, to: 10.2.0.0/16, action: tunnel work}]"))
    assert [route(one_app, app, "10.2.0.1") for app in (CHROME, CURL, SYSTEM)] == [TUNNEL, DIRECT, DIRECT]
    assert route(one_app, CHROME, "10.3.0.1") is DIRECT


def test_a_last_rule_for_everything_keeps_the_tunnels_own_keys_from_being_asked() -> None:
    settings = stating("rules: [{apps: chrome, action: tunnel home}, {action: direct}]")
    given = rules(HOME, settings=settings)
    assert route(given, CHROME, "1.1.1.1") is TUNNEL
    assert route(given, CURL, "1.1.1.1") is DIRECT
    assert route(rules(HOME), CURL, "1.1.1.1") is TUNNEL


def test_the_plan_of_stated_rules_holds_what_they_tunnel_or_block_and_nothing_behind_a_rule_for_everything() -> None:
    settings = stating("rules: [{to: 10.2.0.0/16, action: tunnel home}, {action: direct}]")
    assert [str(net) for net in rules(HOME, settings=settings).plan().capture] == ["10.2.0.0/16"]
    blocking = rules(
        settings=stating("rules: [{to: 192.0.2.0/24, action: direct}, {apps: chrome, action: block}]")
    ).plan()
    assert {"0.0.0.0/0", "::/0"} <= {str(net) for net in blocking.capture}
    assert "127.0.0.0/8" in {str(net) for net in blocking.leave}
    assert "192.0.2.0/24" in {str(net) for net in blocking.leave}


def test_a_rule_for_a_tunnel_that_does_not_run_is_passed_over_and_told() -> None:
    given = rules(HOME, settings=stating("rules: [{action: tunnel work}]"))
    assert decide(given, CURL, "10.1.1.1").tunnel == 0
    assert [str(notice) for notice in given.notices()] == [
        "settings.yaml:1: there is no tunnel work in this run, so this rule is passed over"
    ]
    for name, remedy in (("hom", "did you mean home?"), ("work", "this run has home")):
        (notice,) = rules(HOME, settings=stating(f"rules: [{{action: tunnel {name}}}]")).notices()
        assert notice.remedy == remedy


NAMED = config("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome\nAllowedDomains = example.com")


def test_a_peer_with_allowed_domains_takes_what_goes_by_these_names_only() -> None:
    given = rules(NAMED)
    assert given.uses_domains
    assert route(given, CHROME, "1.1.1.1") is DIRECT
    assert decide(given, CHROME, "1.1.1.1").reason == "its name is not known, so not in AllowedDomains (wg0.conf:8)"
    assert decide(given, CHROME, "1.1.1.1", TCP, 443, "www.example.com").route is TUNNEL
    assert decide(given, CURL, "1.1.1.1", TCP, 443, "www.example.com").route is DIRECT
    assert decide(given, CHROME, "1.1.1.1", TCP, 443, "example.com.evil.test").route is DIRECT


def test_domains_change_neither_what_is_captured_nor_that_dns_is() -> None:
    plan = rules(NAMED).plan()
    assert [str(net) for net in plan.capture] == ["0.0.0.0/0"]
    assert plan.dns


def test_a_peer_with_disallowed_domains_takes_all_else() -> None:
    given = rules(config("AllowedIPs = 0.0.0.0/0\nDisallowedDomains = *.bank.example"))
    assert route(given, CURL, "1.1.1.1") is TUNNEL
    assert decide(given, CURL, "1.1.1.1", TCP, 443, "www.bank.example").route is DIRECT
    assert decide(given, CURL, "1.1.1.1", TCP, 443, "bank.example").route is TUNNEL


def test_a_query_is_judged_by_the_name_that_it_asks_for() -> None:
    given = rules(
        config(
            "AllowedIPs = 0.0.0.0/0\nAllowedDomains = office.example", interface="Address = 10.0.0.2\nDNS = 10.0.0.53"
        )
    )
    assert decide(given, CURL, "9.9.9.9", UDP, 53, "wiki.office.example")[:3] == (TUNNEL, 0, 0)
    assert decide(given, CURL, "9.9.9.9", UDP, 53, "example.com").route is DIRECT
    assert given.mentions("wiki.office.example")
    assert not given.mentions("example.com")


def test_a_name_can_be_blocked() -> None:
    given = rules(HOME, settings=stating("rules: [{domains: ads.example, action: block}]"))
    assert decide(given, CURL, "1.1.1.1", TCP, 443, "x.ads.example").route is BLOCK
    assert decide(given, CURL, "9.9.9.9", UDP, 53, "x.ads.example").route is BLOCK
    assert decide(given, CURL, "1.1.1.1", TCP, 443, "example").route is TUNNEL


RESOLVED = App(9, 1.0, "/usr/lib/systemd/systemd-resolved")
CHROME_DNS = config("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome", interface="Address = 10.0.0.2\nDNS = 10.0.0.53")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("rules", (DIRECT, False)), ("tunnel", (TUNNEL, False)), ("tunnel_or_direct", (TUNNEL, True))],
)
def test_the_policy_for_shared_resolvers_is_for_them_and_for_queries_alone(
    policy: str, expected: tuple[Route, bool]
) -> None:
    given = rules(CHROME_DNS, settings=Settings(shared_resolver=policy))  # type: ignore[arg-type]
    dnscache = App(4, 1.0, "C:\\Windows\\System32\\svchost.exe", "Dnscache")
    for app in (RESOLVED, dnscache):
        decision = decide(given, app, "9.9.9.9", UDP, 53)
        assert (decision.route, decision.or_direct) == expected
        assert route(given, app, "9.9.9.9", TCP, 853) is DIRECT
    assert route(given, CURL, "9.9.9.9", UDP, 53) is DIRECT
    assert decide(given, CHROME, "9.9.9.9", UDP, 53)[:1] == (TUNNEL,)


def test_a_shared_resolver_that_asks_outside_for_the_tunnels_apps_is_told() -> None:
    (notice,) = rules(CHROME_DNS).notices("Dnscache")
    assert "ask Dnscache for names, so names of the tunnel's apps are looked up outside" in notice.message
    interface = "Address = 10.0.0.2\nDNS = 10.0.0.53"
    named = config("AllowedIPs = 0.0.0.0/0\nAllowedApps = chrome, dnscache", interface=interface)
    for given, resolver in (
        (rules(CHROME_DNS), ""),
        (rules(CHROME_DNS, settings=Settings(shared_resolver="tunnel")), "Dnscache"),
        (rules(CHROME_DNS, settings=Settings(dns="system")), "Dnscache"),
        (rules(named), "Dnscache"),
        (rules(HOME), "Dnscache"),
        (rules(config("AllowedIPs = 0.0.0.0/0", interface=interface)), "Dnscache"),
    ):
        assert given.notices(resolver) == ()


def test_an_explanation_of_a_stated_rule_tells_what_was_missing() -> None:
    given = rules(HOME, settings=stating("rules: [{apps: chrome, ports: 443, action: direct}]"))
    told = given.explain(CHROME, ip_address("1.1.1.1").packed, TCP, 80)
    assert told.decision.route is TUNNEL
    assert [str(reason) for reason in told.reasons] == [
        "{apps: chrome, ports: 443, action: direct} (settings.yaml:1)",
        "apps: chrome (settings.yaml:1)",
        "not 443 (settings.yaml:1)",
        "AllowedIPs = 0.0.0.0/0 (home.conf:6)",
        "no app list: every app (home.conf:4)",
    ]


@pytest.mark.skipif(
    os.name != "posix", reason="for other systems: on Windows links take rights, in Wine there are none"
)
def test_links_are_followed_by_default(tmp_path: Path) -> None:
    program, link = tmp_path / "program", tmp_path / "link"
    program.touch()
    link.symlink_to(program)
    given = Rules([config(f"AllowedIPs = 0.0.0.0/0\nAllowedApps = {link}")])
    assert route(given, App(1, 1.0, str(program)), "1.1.1.1") is TUNNEL


def test_4096_prefixes_and_1024_apps_are_no_trouble() -> None:
    prefixes = ", ".join(f"10.{n >> 4}.{(n & 15) << 4}.0/20" for n in range(4096))
    apps = ", ".join(f"/opt/app{n}/bin" for n in range(1024))
    given = rules(config(f"AllowedIPs = {prefixes}\nAllowedApps = {apps}"))
    assert len(given.plan().capture) == 4096
    assert route(given, App(1, 1.0, "/opt/app1023/bin/x"), "10.255.240.1") is TUNNEL


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.conf")), ids=lambda file: file.name)
def test_every_example_has_rules_and_a_plan(file: Path) -> None:
    configs = [load(file)]
    if configs[0].interface.via:
        configs.append(load(EXAMPLES / f"{configs[0].interface.via}.conf"))
    given = Rules(configs, load_settings(EXAMPLES / "settings.yaml"))
    assert given.plan().capture


def test_the_examples_do_what_their_comments_say() -> None:
    settings = load_settings(EXAMPLES / "settings.yaml")
    but_one = Rules([load(EXAMPLES / "all-but-one-app.conf")])
    assert route(but_one, App(1, 1.0, "/opt/games/x/game"), "1.1.1.1") is DIRECT
    assert route(but_one, App(1, 1.0, "/usr/games/steam"), "1.1.1.1") is DIRECT
    assert route(but_one, CURL, "1.1.1.1") is TUNNEL
    assert route(but_one, CURL, "192.168.7.1") is DIRECT
    several = Rules([load(EXAMPLES / "several-peers.conf")], settings)
    assert decide(several, CHROME, "1.1.1.1").peer == 0
    assert route(several, CURL, "1.1.1.1") is DIRECT
    assert decide(several, CHROME, "10.66.66.20").peer == 1
    assert decide(several, App(1, 1.0, "/usr/bin/ssh"), "fd30::1").peer == 2
    assert route(several, CHROME, "10.30.0.1") is DIRECT
    office = Rules([load(EXAMPLES / "one-network.conf")])
    assert route(office, SYSTEM, "10.20.3.4", ICMP) is TUNNEL
    assert route(office, CURL, "1.1.1.1") is DIRECT
