from ipaddress import ip_network

import pytest

from wiresock_py.config import PortRange, Rule
from wiresock_py.config.settings_parser import parse_settings
from wiresock_py.errors import ConfigError


def rules(text: str) -> tuple[Rule, ...]:
    return parse_settings(text, "s.yaml").rules


def test_every_part_of_a_rule_is_read() -> None:
    (rule,) = rules(
        "rules:\n- apps: [chrome, '@web']\n  app_trees: steam\n  to: [10.1.0.0/16, '2001:db8::1']\n"
        "  domains: ['*.Example.com', büro.test]\n  ports: [22, 8000-8100/udp]\n  action: tunnel  my work\n"
    )
    assert rule == Rule(
        "tunnel",
        "my work",
        apps=("chrome", "@web"),
        app_trees=("steam",),
        to=(ip_network("10.1.0.0/16"), ip_network("2001:db8::1")),
        domains=("*.example.com", "xn--bro-hoa.test"),
        ports=(PortRange(22, 22), PortRange(8000, 8100, "udp")),
    )
    assert (rule.file, rule.line) == ("s.yaml", 2)
    assert rule.place("to", "2001:db8::1/128") == (4, 21)


@pytest.mark.parametrize("text", ["rules:", "rules: []", "backend: auto"])
def test_there_need_be_no_rules(text: str) -> None:
    assert rules(text) == ()


def test_a_single_item_needs_no_brackets_and_the_printed_rule_reads_the_same() -> None:
    text = "{apps: chrome, to: 10.0.0.0/8, domains: a.test, ports: 443, protocol: tcp, action: block}"
    (rule,) = rules(f"rules: [{text}]")
    assert rules(f"rules: [{str(rule).replace('10.0.0.0/8', '[10.0.0.0/8]')}]") == (rule,)
    assert str(rule) == text
    assert str(rules("rules: [{apps: [a, b], action: tunnel x}]")[0]) == "{apps: [a, b], action: tunnel x}"


@pytest.mark.parametrize(
    ("text", "line", "column", "expected", "remedy"),
    [
        ("rules: x", 1, 8, "rules: found 'x', expected a list of rules", ""),
        ("rules: [x]", 1, 9, "rules: found 'x', expected a rule such as", ""),
        ("rules:\n- {apps: a}", 2, 3, "a rule without action", ""),
        ("rules:\n- {app: a, action: direct}", 2, 4, "found 'app' in a rule, expected one of apps", "apps"),
        ("rules:\n- {action: tunnel}", 2, 12, "found 'tunnel', expected tunnel NAME", "tunnel wg0"),
        ("rules:\n- {action: drop}", 2, 12, "found 'drop', expected tunnel NAME, direct or block", ""),
        ("rules:\n- {action: blok}", 2, 12, "found 'blok'", "did you mean block?"),
        ("rules:\n- {to: 10.0.0.300, action: direct}", 2, 8, "to: found '10.0.0.300'", ""),
        ("rules:\n- {to: [], action: direct}", 2, 8, "to: found nothing", ""),
        ("rules:\n- {to: , action: direct}", 2, 7, "to: found nothing", ""),
        ("rules:\n- {to: [[a]], action: direct}", 2, 9, "to: found a list, expected one word", ""),
        ("rules:\n- {to: [''], action: direct}", 2, 9, "to: found two commas", ""),
        ("rules:\n- to: 10.0.0.0/8, ::/0\n  action: direct", 2, 7, "expected one item", "brackets: [a, b]"),
        ("rules:\n- apps: chrome, firefox\n  action: direct", 2, 9, "expected one item", "brackets: [a, b]"),
        ("rules:\n- {ports: 70000, action: direct}", 2, 11, "ports: found '70000'", ""),
        ("rules:\n- {ports: 9-8, action: direct}", 2, 11, "ports: found '9-8'", ""),
        ("rules:\n- {domains: 1.2.3.4, action: direct}", 2, 13, "found the address '1.2.3.4'", "AllowedIPs"),
        ("rules:\n- {domains: 'a*.b', action: direct}", 2, 13, "'*' stands for whole parts", "*.example.com"),
        ("rules:\n- {apps: 'a*', action: direct}", 2, 10, "wildcards are not known", ""),
        ("rules:\n- {protocol: sctp, action: direct}", 2, 14, "protocol: found 'sctp', expected tcp, udp, icmp", ""),
        ("rules:\n- {protocol: icmp, ports: 7, action: direct}", 2, 14, "beside ports that it does not have", ""),
        ("rules:\n- {apps: a, apps: b, action: direct}", 2, 13, "which line 2 has already", ""),
    ],
)
def test_a_mistake_is_told_with_line_column_and_remedy(
    text: str, line: int, column: int, expected: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        rules(text)
    assert expected in str(caught.value)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert remedy in caught.value.remedy


def test_a_path_may_have_a_comma_in_it() -> None:
    (rule,) = rules("rules:\n- apps: /opt/a, b/c\n  action: direct")
    assert rule.apps == ("/opt/a, b/c",)


def test_every_mistake_of_every_rule_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        rules("kill_switch: x\nrules:\n- {to: [a, b], action: c}\n- {prots: 1, action: direct}\n")
    assert [error.line for error in (caught.value, *caught.value.others)] == [1, 3, 3, 3, 4]
