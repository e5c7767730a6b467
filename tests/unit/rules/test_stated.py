import socket
from ipaddress import ip_address

import pytest

from tests.support.configs import config
from wiresock_py.config import Config, Settings
from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.errors import ConfigError
from wiresock_py.flow import App, Route
from wiresock_py.rules.conditions import Asker
from wiresock_py.rules.destinations import Destination, Finding, TunnelDestinations
from wiresock_py.rules.stated import StatedRule

BOTH = "Address = 10.0.0.2, fd00::2\nDNS = 10.0.0.53"
WORK = config("AllowedIPs = 10.0.0.0/8, 2001:db8::/32\nDisallowedIPs = 10.9.0.0/16", interface=BOTH, file="work.conf")
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP


def rule(text: str, *configs: Config, groups: str = "{}") -> StatedRule:
    settings: Settings = parse_settings(f"app_groups: {groups}\nrules:\n- {text}\n", "s.yaml")
    given = configs or (WORK,)
    tunnels = [
        TunnelDestinations(index, each, {}, lambda path: path, rewrite_dns=True) for index, each in enumerate(given)
    ]
    return StatedRule(settings.rules[0], given, tunnels, settings.app_groups, lambda path: path)


def findings(of: StatedRule, to: str, port: int = 443, protocol: int = TCP) -> list[Finding]:
    return list(of.findings(Destination.of_flow(ip_address(to).packed, protocol, port)))


def routes(of: StatedRule, to: str, port: int = 443, protocol: int = TCP) -> list[Route]:
    return [finding.route for finding in findings(of, to, port, protocol)]


def test_without_destinations_a_tunnel_rule_takes_what_its_tunnel_takes() -> None:
    given = rule("{apps: chrome, action: tunnel work}")
    assert routes(given, "10.1.0.1") == [Route.TUNNEL]
    assert routes(given, "10.9.0.1") == routes(given, "11.0.0.1") == []


def test_with_destinations_it_takes_exactly_these_disallowed_ips_or_not() -> None:
    given = rule("{to: [10.9.1.0/24, '2001:db8:7::/48'], action: tunnel work}")
    assert routes(given, "10.9.1.1") == routes(given, "2001:db8:7::1") == [Route.TUNNEL]
    assert routes(given, "10.9.2.1") == routes(given, "10.1.0.1") == []


def test_destinations_that_the_tunnel_cannot_carry_are_an_error_at_their_place() -> None:
    with pytest.raises(ConfigError) as caught:
        rule("{to: [10.1.0.0/16, 11.0.0.0/8], action: tunnel work}")
    message = "s.yaml:3:22: to: found 11.0.0.0/8, which the AllowedIPs of work.conf do not hold"
    assert str(caught.value) == message


def test_destinations_may_be_held_in_pieces() -> None:
    halves = config("AllowedIPs = 0.0.0.0/1, 128.0.0.0/1", file="work.conf")
    assert routes(rule("{to: 0.0.0.0/0, action: tunnel work}", halves), "1.1.1.1") == [Route.TUNNEL]


def test_a_version_that_the_tunnel_lacks_is_blocked_and_the_reason_says_so() -> None:
    v4 = config("AllowedIPs = 0.0.0.0/0, ::/0", interface="Address = 10.0.0.2", file="work.conf")
    (finding,) = findings(rule("{to: '2001:db8::/32', action: tunnel work}", v4), "2001:db8::1")
    assert finding.route is Route.BLOCK
    assert finding.reason.text.endswith("action: tunnel work}, but the tunnel has no IPv6 address")


def test_dns_of_what_a_rule_tunnels_goes_to_the_tunnels_servers() -> None:
    (finding,) = findings(rule("{apps: chrome, action: tunnel work}"), "127.0.0.53", 53, UDP)
    assert (finding.route, finding.dns) == (Route.TUNNEL, True)
    by_address = rule("{to: 10.1.0.0/16, action: tunnel work}")
    assert routes(by_address, "127.0.0.53", 53, UDP) == []
    (finding,) = findings(by_address, "10.1.0.53", 53, UDP)
    assert (finding.route, finding.dns) == (Route.TUNNEL, False)


@pytest.mark.parametrize(("action", "route"), [("direct", Route.DIRECT), ("block", Route.BLOCK)])
def test_direct_and_block_are_for_every_destination_but_this_host_and_link(action: str, route: Route) -> None:
    given = rule(f"{{action: {action}}}")
    assert routes(given, "10.1.0.1") == routes(given, "2001:db8::1") == routes(given, "127.0.0.53", 53, UDP) == [route]
    assert routes(given, "127.0.0.1") == routes(given, "fe80::1") == routes(given, "224.0.0.1") == []
    assert findings(given, "10.1.0.1")[0].everyone


def test_all_that_a_rule_names_must_be_met() -> None:
    given = rule("{apps: '@web', domains: a.test, ports: 443, protocol: tcp, action: block}", groups="{web: [chrome]}")
    (finding,) = findings(given, "10.1.0.1")
    assert finding.conditions is not None

    def met(
        app: str = "/x/chrome", names: tuple[str, ...] = ("www.a.test",), port: int = 443, protocol: int = TCP
    ) -> bool:
        asker = Asker(App(1, 1.0, app), (), protocol, port, names)
        return all(condition.verdict(asker).holds for condition in finding.conditions or ())

    assert met()
    assert not met(app="/x/curl")
    assert not met(names=())
    assert not met(port=80)
    assert not met(protocol=UDP)


def test_an_unknown_group_is_an_error_at_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^s.yaml:3:10: apps: found '@web', expected a group"):
        rule("{apps: '@web', action: direct}")
