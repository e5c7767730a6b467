"""The text of settings.yaml, read node by node, so that every mistake is told with its place.

backend: auto            # or a name that `wiresock-py backends` lists
log_level: info          # error, warning, info, debug
kill_switch: app         # app, all, off
forwarded: rules         # rules, direct, block: what other machines send through this one
existing: reset          # reset, leave: connections open before the start that belong in a tunnel
dns: tunnel              # tunnel: port 53 of tunnelled apps goes to the tunnel's DNS servers; system: it does not
shared_resolver: rules   # rules, tunnel, tunnel_or_direct: queries of a process that resolves names for all others
app_groups:              # used as AllowedApps = @browsers
  browsers: [chrome, msedge, firefox]
rules:                   # before those of the tunnels; see rule_list.py
  - {apps: ssh, to: 10.20.0.0/16, action: tunnel work}
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import yaml

from wiresock_py.config.nodes import found, repeated, text_of
from wiresock_py.config.rule_list import read_rules
from wiresock_py.config.settings import Settings
from wiresock_py.config.text import looks_like_key, nearest, shown
from wiresock_py.config.values import read_app
from wiresock_py.errors import ConfigError

_NAMES = [each.name for each in fields(Settings)]
_CHOICES = {each.name: get_args(each.type) for each in fields(Settings) if get_origin(each.type) is Literal}
# A group's name stands behind the @ in a comma-separated list.
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def parse_settings(text: str, file: str) -> Settings:
    """The settings that *text* states. Raises ConfigError for the first mistake, with the rest in ``others``."""
    try:
        # The loader that takes every scalar as text: to YAML, off and no are false, and 7.10 loses its zero.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        raise _yaml_error(error, file) from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError("found something that is no YAML text", file=file) from None
    if root is None or root.value == "":
        return Settings()
    if not isinstance(root, yaml.MappingNode):
        raise text_of(root, file).error("found no settings, expected lines such as backend: auto")
    mistakes = list(repeated(root, file))
    values: dict[str, Any] = {}
    for key, node in root.value:
        try:
            values[key.value] = _read(key, node, file, mistakes)
        except ConfigError as error:
            mistakes.append(error)
    if mistakes:
        raise ConfigError.of_many(sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column)))
    return Settings(**values)


def _read(key: yaml.Node, node: yaml.Node, file: str, mistakes: list[ConfigError]) -> object:
    """The value of one setting; what is wrong with parts of it is added to *mistakes*."""
    name = text_of(key, file)
    at = text_of(node, file)._replace(key=name.text)
    if name.text == "rules":
        return read_rules(node, file, mistakes)
    if name.text == "app_groups":
        return _read_groups(node, file, mistakes)
    if name.text == "backend":
        if not at.text:
            raise at.error(f"found {found(node)}, expected auto or a backend's name")
        return at.text
    if name.text not in _CHOICES:
        raise name.error(f"found {found(key)}, expected one of {', '.join(_NAMES)}", nearest(name.text, _NAMES))
    choices = _CHOICES[name.text]
    if at.text not in choices:
        *first, last = map(repr, choices)
        raise at.error(f"found {found(node)}, expected {', '.join(first)} or {last}", nearest(at.text, choices))
    return at.text


def _read_groups(node: yaml.Node, file: str, mistakes: list[ConfigError]) -> Mapping[str, tuple[str, ...]]:
    if not isinstance(node, yaml.MappingNode):
        expected = "lines such as browsers: [chrome, firefox]"
        raise text_of(node, file)._replace(key="app_groups").error(f"found {found(node)}, expected {expected}")
    mistakes += repeated(node, file)
    groups = {}
    for key, entries in node.value:
        name = text_of(key, file)
        if not _GROUP_NAME.fullmatch(name.text):
            expected = "letters, digits, '_', '-' and '.'"
            mistakes.append(name.error(f"found {found(key)} as a group's name, expected {expected}"))
        groups[name.text] = tuple(_read_entries(entries, file, mistakes))
    return groups


def _read_entries(node: yaml.Node, file: str, mistakes: list[ConfigError]) -> Iterator[str]:
    at = text_of(node, file)._replace(key="app_groups")
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        expected = "at least one app" if isinstance(node, yaml.SequenceNode) else "a list of apps, such as [chrome]"
        mistakes.append(at.error(f"found {found(node)}, expected {expected}"))
        return
    for item in node.value:
        try:
            yield _read_entry(item, file)
        except ConfigError as error:
            mistakes.append(error)


def _read_entry(node: yaml.Node, file: str) -> str:
    entry = text_of(node, file)._replace(key="app_groups")
    if not isinstance(node, yaml.ScalarNode):
        raise entry.error(f"found {found(node)}, expected one word")
    if entry.text.startswith("@"):
        raise entry.error(f"found {shown(entry.text)}: a group cannot hold another group, expected an app")
    return read_app(entry)


def _yaml_error(error: yaml.MarkedYAMLError, file: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    problem = f"{error.problem} ({error.context})" if error.context else str(error.problem)
    remedy = "indent with blanks" if "'\\t'" in problem else "quote a text that holds ': ', ' #', '@' or '*'"
    return ConfigError(
        "found text that looks like a key (not shown)" if looks_like_key(problem) else problem,
        remedy,
        file=file,
        line=line,
        column=column,
    )
