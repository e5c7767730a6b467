r"""Which process an entry of an app list means, and what a peer's two lists say about it.

chrome                    the file name or its stem, whatever the case: chrome, Chrome.exe; never chromedriver
DNSCACHE                  a Windows service by its name
SYSTEM                    traffic that no process owns
/opt/google/chrome        that file, or everything below that folder; symbolic links followed when loaded
C:\Games\                 with a slash at its end: only what is below; on Windows case does not count
steamapps/common          no root: these folders one after the other, anywhere in the path
@browsers                 every entry of the group in settings.yaml

An entry of a tree list means the program and all that it started, directly or not.
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from wiresock_py.config import Config, Peer, Place
from wiresock_py.config.text import looks_like_key, nearest, shown
from wiresock_py.config.values import is_path, is_rooted
from wiresock_py.errors import ConfigError
from wiresock_py.flow import App
from wiresock_py.rules.conditions import Asker, Choice, Condition, Verdict
from wiresock_py.rules.decision import Reason

Resolver = Callable[[str], str]
Groups = Mapping[str, tuple[str, ...]]

_WINDOWS_PATH = re.compile(r"[A-Za-z]:|\\\\")


class Entry(NamedTuple):
    """One app of a list."""

    text: str
    reason: Reason
    """What to say when it matches."""


class _PathEntry(NamedTuple):
    entry: Entry
    below_only: bool
    """Written with a slash at its end: a folder, never the file of that name."""


class AppList:
    """The entries of one list, ready to be matched."""

    def __init__(self, entries: Iterable[Entry], resolve: Resolver) -> None:
        self._names: dict[str, Entry] = {}
        # By the path's components; for Windows paths these in small letters.
        self._rooted: dict[bool, dict[tuple[str, ...], _PathEntry]] = {False: {}, True: {}}
        self._anywhere: dict[bool, dict[tuple[str, ...], _PathEntry]] = {False: {}, True: {}}
        for entry in entries:
            if not is_path(entry.text):
                self._names.setdefault(entry.text.casefold(), entry)
                continue
            # Both as written and resolved: not every system reports the resolved path.
            here = is_rooted(entry.text) and (os.name == "posix") == entry.text.startswith("/")
            for path in {entry.text, resolve(entry.text)} if here else {entry.text}:
                self._add_path(path, entry)

    def _add_path(self, path: str, entry: Entry) -> None:
        below_only = entry.text.endswith(("/", "\\"))
        table = self._rooted if is_rooted(path) else self._anywhere
        for windows in (False, True):
            table[windows].setdefault(_components(path, windows=windows), _PathEntry(entry, below_only))

    def match(self, app: App) -> Entry | None:
        """The first of: the entry with the app's name, its service's name, the longest path, folders in its path."""
        name = app.name.casefold()
        stem = posixpath.splitext(name)[0]
        for text in (name, stem, app.service.casefold()):
            if text and text in self._names:
                return self._names[text]
        windows = _WINDOWS_PATH.match(app.path) is not None
        parts = _components(app.path, windows=windows)
        for length in range(len(parts), 0, -1):
            found = self._rooted[windows].get(parts[:length])
            if found and (length < len(parts) or not found.below_only):
                return found.entry
        for run, found in self._anywhere[windows].items():
            end = len(parts) - found.below_only
            if any(parts[start : start + len(run)] == run for start in range(end - len(run) + 1)):
                return found.entry
        return None


class AppSet:
    """Entries of an app list and of a tree list, asked as one."""

    def __init__(self, entries: Iterable[Entry], trees: Iterable[Entry], resolve: Resolver) -> None:
        entries, trees = tuple(entries), tuple(trees)
        self._apps = AppList(entries, resolve)
        self._trees = AppList(trees, resolve)
        self.has_trees = bool(trees)
        self.texts = frozenset(
            [*(entry.text.casefold() for entry in entries), *(f"tree {entry.text.casefold()}" for entry in trees)]
        )
        """The entries, to be compared with others'."""

    def match(self, app: App, ancestors: Iterable[App]) -> Reason | None:
        """What to say of the first entry that means *app*, or an app whose descendant it is."""
        entry = self._apps.match(app)
        if entry or not self.has_trees:
            return entry.reason if entry else None
        for each in (app, *ancestors):
            entry = self._trees.match(each)
            if entry:
                started = "" if each is app else f", which started {app.name}"
                return entry.reason._replace(text=f"{entry.reason.text}{started}")
        return None


class AppLists:
    """AllowedApps and DisallowedApps of one peer, the tree lists with them.

    All empty: tunnel. Matches the allowed ones: tunnel. Matches the disallowed ones: direct. Neither: tunnel only if
    just disallowed ones are given.
    """

    def __init__(self, config: Config, peer: Peer, groups: Groups, resolve: Resolver) -> None:
        self._file = config.file
        self._peer = peer
        self._allowed, self._disallowed = (
            AppSet(
                _entries(config, peer, f"{kind}Apps", apps, groups),
                _entries(config, peer, f"{kind}AppTrees", trees, groups),
                resolve,
            )
            for kind, apps, trees in (
                ("Allowed", peer.allowed_apps, peer.allowed_app_trees),
                ("Disallowed", peer.disallowed_apps, peer.disallowed_app_trees),
            )
        )
        self._first_key = next((key for key, given in _given(peer) if given), "")
        self.everyone = not self._first_key
        """Whether no app is told from another."""
        self.has_trees = self._allowed.has_trees or self._disallowed.has_trees
        self.choice = Choice(self._allowed.texts or None, self._disallowed.texts)
        self._verdict = lru_cache(maxsize=4096)(self._find_verdict)

    def includes(self, other: Condition) -> bool:
        """Whether the apps of *other* are all among these."""
        return isinstance(other, AppLists | AppCondition) and self.choice.includes(other.choice)

    def verdict(self, asker: Asker) -> Verdict:
        """Whether the lists give the app the tunnel. Depends on its path and service and its ancestors' alone."""
        ancestors = tuple(_identity(app) for app in asker.ancestors) if self.has_trees else ()
        return self._verdict(_identity(asker.app), ancestors)

    def _find_verdict(self, app: App, ancestors: tuple[App, ...]) -> Verdict:
        if self.everyone:
            return Verdict(True, Reason("no app list: every app", self._file, self._peer.line))
        if reason := self._allowed.match(app, ancestors):
            return Verdict(True, reason)
        if reason := self._disallowed.match(app, ancestors):
            return Verdict(False, reason)
        reason = Reason(f"not in {self._first_key}", self._file, self._peer.place(self._first_key).line)
        return Verdict(self._first_key.startswith("Dis"), reason)


class AppCondition:
    """The apps that a rule of settings.yaml names; none: every app."""

    def __init__(self, apps: AppSet, missed: Reason, *, everyone: bool) -> None:
        self._apps = apps
        self._missed = missed
        self.everyone = everyone
        self.has_trees = apps.has_trees
        self.choice = Choice(None if everyone else apps.texts)

    def includes(self, other: Condition) -> bool:
        """Whether the apps of *other* are all among these."""
        return isinstance(other, AppLists | AppCondition) and self.choice.includes(other.choice)

    def verdict(self, asker: Asker) -> Verdict:
        """Whether the app is one of them."""
        if self.everyone:
            return Verdict(True, Reason("every app"))
        reason = self._apps.match(asker.app, asker.ancestors)
        return Verdict(reason is not None, reason or self._missed)


def _given(peer: Peer) -> Iterable[tuple[str, bool]]:
    yield "AllowedApps", bool(peer.allowed_apps)
    yield "AllowedAppTrees", bool(peer.allowed_app_trees)
    yield "DisallowedApps", bool(peer.disallowed_apps)
    yield "DisallowedAppTrees", bool(peer.disallowed_app_trees)


def _identity(app: App) -> App:
    """What matching depends on."""
    return App(0, 0, app.path, app.service)


def _entries(config: Config, peer: Peer, key: str, texts: Iterable[str], groups: Groups) -> Iterable[Entry]:
    yield from read_entries(key, " = ", texts, groups, config.file, lambda text: peer.place(key, text))


def read_entries(
    key: str, equals: str, texts: Iterable[str], groups: Groups, file: str, place_of: Callable[[str], Place]
) -> Iterable[Entry]:
    """The entries of the list *key*, groups opened. Raises ConfigError for a group that is not there."""
    for text in texts:
        place = place_of(text)
        if not text.startswith("@"):
            yield Entry(text, Reason(f"{key}{equals}{_shown(text)}", file, place.line))
            continue
        if text[1:] not in groups:
            message = f"{key}: found {shown(text)}, expected a group of app_groups in settings.yaml"
            remedy = nearest(text[1:], groups) or "add the group there, or name the apps here"
            raise ConfigError(message, remedy, file=file, line=place.line, column=place.column)
        for app in groups[text[1:]]:
            yield Entry(app, Reason(f"{key}{equals}{text}, which holds {_shown(app)}", file, place.line))


def _shown(entry: str) -> str:
    """Reasons reach logs; an entry that may be a key pasted into the wrong place does not."""
    return shown(entry) if looks_like_key(entry) else entry


def _components(path: str, *, windows: bool) -> tuple[str, ...]:
    """The parts of a path between its slashes; a root is a part of its own ("" or "c:"), a last slash is none."""
    if windows:
        return tuple(re.split(r"[\\/]+", path.rstrip("\\/").casefold()))
    return tuple(re.split("/+", path.rstrip("/")))
