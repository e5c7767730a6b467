"""A piece of a file that knows its place, and how to show text in a message without showing a key."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from wiresock_py.errors import ConfigError

_SHOWN_LENGTH = 60

# A key that was pasted into the wrong place must not be echoed, nor half of one. Text of base64's alphabet counts as
# one when it changes between capitals, small letters and digits often: at random that happens at three of five
# letters, in paths and CamelCase at one of five. Of 100,000 random keys this limit lets two pass. Longer text is looked
# at a key's length at a time, so that nothing pasted beside a key can hide it.
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/]{22,}")
_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[a-z0-9])|(?<=[0-9])(?=[A-Za-z])")
_MOST_CHANGES = 0.28
_KEY_LENGTH, _STEP = 43, 11


def looks_like_key(text: str) -> bool:
    """Whether *text* contains what may be a key, or a good part of one."""
    # a key copied out of a document may have characters in it that nobody sees
    for run in _BASE64_RUN.findall("".join(filter(str.isprintable, text))):
        for start in range(0, max(1, len(run) - _KEY_LENGTH + 1), _STEP):
            letters = re.sub("[+/]", "", run[start : start + _KEY_LENGTH])
            if len(_CHANGE.findall(letters)) > _MOST_CHANGES * len(letters):
                return True
    return False


def shown(text: str) -> str:
    """*text* for a message: quoted, shortened, unprintable characters escaped, and never a key."""
    short = repr(text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…")
    return "text that looks like a key (not shown)" if looks_like_key(text) or looks_like_key(short) else short


def nearest(word: str, known: Iterable[str]) -> str:
    """A remedy that names the known word most like *word*, "" if none is like it."""
    spelled = {item.casefold(): item for item in known}
    match = difflib.get_close_matches(word.casefold(), spelled, n=1)
    return f"did you mean {spelled[match[0]]}?" if match else ""


class Text(NamedTuple):
    """Part of one line of a file; *line* and *column* count from 1; *key* is the setting that it belongs to."""

    text: str
    file: str
    line: int
    column: int
    key: str = ""

    def __str__(self) -> str:
        return self.text

    def cut(self, start: int, end: int) -> Self:
        return self._replace(text=self.text[start:end], column=self.column + start)

    def strip(self) -> Self:
        """Without white space around."""
        text = self.text.strip()
        start = self.text.find(text) if text else len(self.text)
        return self.cut(start, start + len(text))

    def split(self, separator: str) -> Iterator[Self]:
        """The stripped parts between the matches of the regular expression *separator*."""
        start = 0
        for match in re.finditer(separator, self.text):
            yield self.cut(start, match.start()).strip()
            start = match.end()
        yield self.cut(start, len(self.text)).strip()

    def error(self, message: str, remedy: str = "") -> ConfigError:
        """The mistake that stands here."""
        message = f"{self.key}: {message}" if self.key else message
        return ConfigError(message, remedy, file=self.file, line=self.line, column=self.column)
