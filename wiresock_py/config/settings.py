"""settings.yaml: what is not of one tunnel.

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

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from platformdirs import site_config_path, user_config_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wiresock_py.config.files import read_text
from wiresock_py.config.nodes import child, found, repeated, text_of
from wiresock_py.config.rule_list import Rule, read_rules
from wiresock_py.config.text import Text, looks_like_key, nearest, shown
from wiresock_py.config.values import check_app
from wiresock_py.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

FILE_NAME = "settings.yaml"

# A group's name stands behind the @ in a comma-separated list.
_GROUP_NAME = re.compile(r"[A-Za-z0-9_.-]+")

# What pydantic calls a value of the wrong shape -> what is expected.
_EXPECTED = {
    "too_short": "at least one app",
    "tuple_type": "a list of apps, such as [chrome, firefox]",
    "dict_type": "lines such as browsers: [chrome, firefox]",
    "string_type": "one word",
    "string_too_short": "auto or a backend's name",
}


class Settings(BaseModel):
    """The settings of a run; every field has a default, so an absent file is a valid one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    backend: Annotated[str, Field(min_length=1)] = "auto"
    """A backend's name, or "auto": the best that works here."""
    log_level: Literal["error", "warning", "info", "debug"] = "info"
    kill_switch: Literal["app", "all", "off"] = "app"
    """Held back while a tunnel is down: the tunnelled apps' traffic, all that a tunnel could take, or nothing."""
    forwarded: Literal["rules", "direct", "block"] = "rules"
    """What becomes of packets of other machines that this host passes on: as the rules say of SYSTEM, outside, or
    nothing that a tunnel could take leaves."""
    existing: Literal["reset", "leave"] = "reset"
    """What becomes of connections that were open before the start and belong in a tunnel: their apps are made to
    connect again, or they go on outside until they end."""
    dns: Literal["tunnel", "system"] = "tunnel"
    """Where port 53 of tunnelled apps goes: to the tunnel's DNS servers, or wherever the app sends it."""
    app_groups: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Entries as in AllowedApps, by the group's name."""
    shared_resolver: Literal["rules", "tunnel", "tunnel_or_direct"] = "rules"
    """Queries of a process that resolves names for all others: as the rules say of that process, into the tunnel, or
    into the tunnel while it is up."""
    rules: tuple[Rule, ...] = ()
    """In order; the first that is met decides, and where none is, the tunnels' own keys."""


def settings_paths() -> tuple[Path, ...]:
    """Where settings.yaml is looked for: first the user's own, then the machine's."""
    folders = (user_config_path("wiresock-py", appauthor=False), site_config_path("wiresock-py", appauthor=False))
    return tuple(folder / FILE_NAME for folder in folders)


def load_settings(path: Path | None = None) -> Settings:
    """Read *path*; None: the first of :func:`settings_paths` that is there, the defaults where none is.

    Raises ConfigError with line and column.
    """
    if path is None:
        # os.path says False where Path.exists raises: in a home that is not ours to enter
        path = next((candidate for candidate in settings_paths() if os.path.exists(candidate)), None)  # noqa: PTH110
    return Settings() if path is None else parse_settings(read_text(path), str(path))


def parse_settings(text: str, file: str) -> Settings:
    """The settings that *text* states. Raises ConfigError for the first mistake, with the rest in ``others``."""
    try:
        # The loader that takes every scalar as text: to YAML, off and no are false, and 7.10 loses its zero.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        data = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - makes str, list and dict only
    except yaml.MarkedYAMLError as error:
        raise _yaml_error(error, file) from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError("found something that is no YAML text", file=file) from None
    if root is None or root.value == "":
        return Settings()
    if not isinstance(root, yaml.MappingNode):
        raise text_of(root, file).error("found no settings, expected lines such as backend: auto")
    mistakes = list(_check_names(root, file))
    rules = read_rules(child(root, "rules"), file, mistakes)
    settings = Settings()
    try:
        settings = Settings.model_validate({**data, "rules": rules})
    except ValidationError as error:
        mistakes += [_field_error(root, detail, file) for detail in error.errors(include_url=False)]
    if mistakes:
        first, *rest = sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column))
        first.others = tuple(rest)
        raise first
    return settings


def _check_names(root: yaml.MappingNode, file: str) -> Iterator[ConfigError]:
    """What the values alone do not show: a name given twice, a group's name or entry that could not be used."""
    groups = child(root, "app_groups")
    yield from repeated(root, file)
    yield from repeated(groups, file)
    if not isinstance(groups, yaml.MappingNode):
        return
    for key, entries in groups.value:
        name = text_of(key, file)
        if not _GROUP_NAME.fullmatch(name.text):
            yield name.error(f"found {shown(name.text)} as a group's name, expected letters, digits, '_', '-' and '.'")
        for entry in entries.value if isinstance(entries, yaml.SequenceNode) else ():
            if isinstance(entry, yaml.ScalarNode):
                yield from _check_entry(text_of(entry, file))


def _check_entry(entry: Text) -> Iterator[ConfigError]:
    if entry.text.startswith("@"):
        yield entry.error(f"found {shown(entry.text)}: a group cannot hold another group, expected an app")
        return
    try:
        check_app(entry)
    except ConfigError as error:
        yield error


def _field_error(root: yaml.MappingNode, detail: "ErrorDetails", file: str) -> ConfigError:
    path = detail["loc"]
    if detail["type"] == "extra_forbidden":
        key = next(key for key, _ in root.value if key.value == path[0])
        known = list(Settings.model_fields)
        return text_of(key, file).error(
            f"found {shown(key.value)}, expected one of {', '.join(known)}", nearest(key.value, known)
        )
    node: yaml.Node = root
    for step in path:
        node = child(node, step) or node
    at = text_of(node, file)._replace(key=str(path[0]))
    if detail["type"] == "literal_error":
        expected = str(detail["ctx"]["expected"])
        return at.error(f"found {found(node)}, expected {expected}", nearest(at.text, re.findall(r"\w+", expected)))
    return at.error(f"found {found(node)}, expected {_EXPECTED.get(detail['type'], detail['msg'])}")


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
