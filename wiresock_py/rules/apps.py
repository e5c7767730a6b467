r"""Which process an entry of an app list means, and what a peer's two lists say about it.

chrome                    the file name or its stem, whatever the case: chrome, Chrome.exe; never chromedriver
DNSCACHE                  a Windows service by its name
SYSTEM                    traffic that no process owns
/opt/google/chrome        that file, or everything below that folder; symbolic links followed when loaded
C:\Games\                 with a slash at its end: only what is below; on Windows case does not count
steamapps/common          no root: these folders one after the other, anywhere in the path
@browsers                 every entry of the group in settings.yaml
"""

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from wiresock_py.config import Config, Peer
from wiresock_py.config.text import looks_like_key, nearest, shown
from wiresock_py.config.values import is_path, is_rooted
from wiresock_py.errors import ConfigError
from wiresock_py.flow import App
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


class AppVerdict(NamedTuple):
    """What a peer's lists say about an app."""

    tunnel: bool
    reason: Reason


class AppLists:
    """AllowedApps and DisallowedApps of one peer.

    Both empty: tunnel. Matches AllowedApps: tunnel. Matches DisallowedApps: direct. Neither: tunnel only if just
    DisallowedApps is given.
    """

    def __init__(self, config: Config, peer: Peer, groups: Groups, resolve: Resolver) -> None:
        self._file = config.file
        self._peer = peer
        self._allowed = AppList(_entries(config, peer, "AllowedApps", peer.allowed_apps, groups), resolve)
        self._disallowed = AppList(_entries(config, peer, "DisallowedApps", peer.disallowed_apps, groups), resolve)
        self.everyone = not peer.allowed_apps and not peer.disallowed_apps
        """Whether no app is told from another."""
        self._verdict = lru_cache(maxsize=4096)(self._find_verdict)

    def verdict(self, app: App) -> AppVerdict:
        """Whether the lists give *app* the tunnel. Depends on its path and service alone."""
        return self._verdict(app.path, app.service)

    def _find_verdict(self, path: str, service: str) -> AppVerdict:
        app = App(0, 0, path, service)
        if self.everyone:
            return AppVerdict(True, Reason("no app list: every app", self._file, self._peer.line))
        entry = self._allowed.match(app)
        if entry:
            return AppVerdict(True, entry.reason)
        entry = self._disallowed.match(app)
        if entry:
            return AppVerdict(False, entry.reason)
        key = "AllowedApps" if self._peer.allowed_apps else "DisallowedApps"
        reason = Reason(f"not in {key}", self._file, self._peer.place(key).line)
        return AppVerdict(key == "DisallowedApps", reason)


def _entries(config: Config, peer: Peer, key: str, texts: Iterable[str], groups: Groups) -> Iterable[Entry]:
    for text in texts:
        place = peer.place(key, text)
        if not text.startswith("@"):
            yield Entry(text, Reason(f"{key} = {_shown(text)}", config.file, place.line))
            continue
        if text[1:] not in groups:
            message = f"{key}: found {shown(text)}, expected a group of app_groups in settings.yaml"
            remedy = nearest(text[1:], groups) or "add the group there, or name the apps here"
            raise ConfigError(message, remedy, file=config.file, line=place.line, column=place.column)
        for app in groups[text[1:]]:
            yield Entry(app, Reason(f"{key} = {text}, which holds {_shown(app)}", config.file, place.line))


def _shown(entry: str) -> str:
    """Reasons reach logs; an entry that may be a key pasted into the wrong place does not."""
    return shown(entry) if looks_like_key(entry) else entry


def _components(path: str, *, windows: bool) -> tuple[str, ...]:
    """The parts of a path between its slashes; a root is a part of its own ("" or "c:"), a last slash is none."""
    if windows:
        return tuple(re.split(r"[\\/]+", path.rstrip("\\/").casefold()))
    return tuple(re.split("/+", path.rstrip("/")))
