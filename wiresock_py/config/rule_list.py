"""``rules:`` of settings.yaml: rules stated directly, in order, before what the wg0.conf files say.

    - {apps: [chrome, firefox], domains: [example.com], action: tunnel work}
    - {to: 10.20.0.0/16, ports: [22, 443/tcp], action: tunnel work}
    - {apps: "@games", action: direct}
    - {domains: ads.example, action: block}

A rule is met when all that it names is met; what it does not name does not matter. A single item needs no brackets.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from wiresock_py.config.model import Place, PortRange
from wiresock_py.config.nodes import found, repeated, text_of
from wiresock_py.config.settings import BLOCK, DIRECT, PROTOCOLS, TUNNEL, Rule
from wiresock_py.config.text import Text, nearest, shown
from wiresock_py.config.values import is_rooted, read_app, read_domain, read_ports, read_prefix
from wiresock_py.errors import ConfigError

_ACTION = re.compile(r"tunnel\s+(?P<name>\S.*)|direct|block")


def read_rules(node: yaml.Node, file: str, mistakes: list[ConfigError]) -> tuple[Rule, ...]:
    """The rules of the list *node*; what is wrong with them is added to *mistakes*."""
    if node.value == "":
        return ()
    if not isinstance(node, yaml.SequenceNode):
        expected = "a list of rules, such as - {apps: chrome, action: direct}"
        mistakes.append(text_of(node, file)._replace(key="rules").error(f"found {found(node)}, expected {expected}"))
        return ()
    rules = []
    for item in node.value:
        before = len(mistakes)
        rule = _read_rule(item, file, mistakes)
        if rule is not None and len(mistakes) == before:
            rules.append(rule)
    return tuple(rules)


def _read_rule(node: yaml.Node, file: str, mistakes: list[ConfigError]) -> Rule | None:
    at = text_of(node, file)._replace(key="rules")
    if not isinstance(node, yaml.MappingNode):
        mistakes.append(at.error(f"found {found(node)}, expected a rule such as {{apps: chrome, action: direct}}"))
        return None
    mistakes += repeated(node, file)
    places: dict[tuple[str, str], Place] = {}
    values: dict[str, Any] = {}
    for key, value in node.value:
        name = text_of(key, file)
        if name.text not in (*_ITEMS, "protocol", "action"):
            known = [*_ITEMS, "protocol", "action"]
            message = f"found {shown(name.text)} in a rule, expected one of {', '.join(known)}"
            mistakes.append(name.error(message, nearest(name.text, known)))
        elif name.text in _ITEMS:
            values[name.text] = tuple(_read_items(name.text, value, file, places, mistakes))
        else:
            values[name.text] = text_of(value, file)._replace(key=name.text)
    try:
        action, tunnel = _read_action(values.pop("action", None), at)
        protocol = _read_protocol(values.pop("protocol", None), values.get("ports", ()))
    except ConfigError as error:
        mistakes.append(error)
        return None
    return Rule(action, tunnel, protocol=protocol, **values, file=file, line=at.line, places=places)


def _read_items(
    key: str, node: yaml.Node, file: str, places: dict[tuple[str, str], Place], mistakes: list[ConfigError]
) -> Iterator[object]:
    """The items of one list of a rule, each once."""
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not node.value:
        mistakes.append(text_of(node, file)._replace(key=key).error("found nothing, expected at least one"))
        return
    for item in nodes:
        text = text_of(item, file)._replace(key=key)
        try:
            if not isinstance(item, yaml.ScalarNode):
                raise text.error(f"found {found(item)}, expected one word")
            if item is node and "," in text.text and not is_rooted(text.text):
                raise text.error(f"found {shown(text.text)}, expected one item", "put several into brackets: [a, b]")
            value = _ITEMS[key](text)
        except ConfigError as error:
            mistakes.append(error)
            continue
        if (key, str(value)) not in places:
            places[key, str(value)] = Place(text.line, text.column)
            yield value


def _read_action(text: Text | None, rule: Text) -> tuple[str, str]:
    if text is None:
        raise rule.error("found a rule without action, expected action: tunnel NAME, direct or block")
    match = _ACTION.fullmatch(text.text.strip())
    if match is None:
        remedy = "name the tunnel: tunnel wg0" if text.text.strip() == TUNNEL else nearest(text.text, (DIRECT, BLOCK))
        raise text.error(f"found {shown(text.text)}, expected tunnel NAME, direct or block", remedy)
    return (TUNNEL, match["name"]) if match["name"] else (match[0], "")


def _read_protocol(text: Text | None, ports: tuple[PortRange, ...]) -> str:
    if text is None:
        return ""
    if text.text not in PROTOCOLS:
        raise text.error(f"found {shown(text.text)}, expected {', '.join(PROTOCOLS)}", nearest(text.text, PROTOCOLS))
    if ports and (text.text == "icmp" or any(each.protocol not in ("", text.text) for each in ports)):
        raise text.error(f"found {text.text} beside ports that it does not have", "remove one of the two lines")
    return text.text


_ITEMS: Mapping[str, Callable[[Text], object]] = {
    "apps": read_app,
    "app_trees": read_app,
    "to": read_prefix,
    "domains": read_domain,
    "ports": read_ports,
}
