"""The lines of a wg0.conf: headers and settings, comments set aside, each with its place.

    # a comment                       ; and so is this, as WireSock writes it
    [Section]                         # blanks within the brackets do not count, nor does case
    Key = value                       # a comment
    #@ws:Key = value                  exactly this prefix: a setting that other programs take for a comment

What cannot be read is yielded as the error it is, so that one pass finds every mistake.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from wiresock_py.config.model import Notice
from wiresock_py.config.text import Text, looks_like_key, shown
from wiresock_py.errors import ConfigError

EXTENSION_PREFIX = "#@ws:"

# Near misses of the prefix are comments, as in WireSock, but hardly ever meant as such. So is the prefix behind
# something else, as ``echo '#@ws:…' >> wg0.conf`` leaves it in a file whose last line has no end.
_NEAR_PREFIX = re.compile(r"#\s*@\s*ws\b", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_]+")


class Header(NamedTuple):
    """``[Section]``"""

    name: Text


class Setting(NamedTuple):
    """``Key = value``; the value still has its comment, for where one starts depends on the key."""

    key: Text
    value: Text


Line = Header | Setting | Notice | ConfigError


def read_lines(text: str, file: str) -> Iterator[Line]:
    """Every line of *text* that is not empty and not a comment."""
    for number, raw in enumerate(re.split("\r\n|\n|\r", text), 1):
        line = setting = Text(raw, file, number, 1).strip()
        if line.text.startswith(EXTENSION_PREFIX):
            setting = line.cut(len(EXTENSION_PREFIX), len(line.text))
        elif line.text.startswith(("#", ";")):
            if _NEAR_PREFIX.match(line.text):
                message = "this line is a comment, although it looks like a setting for this client"
                yield Notice(message, f"start it with exactly {EXTENSION_PREFIX}", file, number, line.column)
            continue
        elif not line.text:
            continue
        if found := _NEAR_PREFIX.search(setting.text):
            message = "what stands here is a comment, although it looks like a setting for this client"
            yield Notice(message, "put it on a line of its own", file, number, setting.column + found.start())
        if line.text.startswith("["):
            yield from _read_header(line)
        else:
            yield _read_setting(setting)


def _read_header(line: Text) -> Iterator[Header | ConfigError]:
    """The header also where it is faulty: its section is closed in any case, and mostly clear which one follows."""
    name, closed, rest = line.text[1:].partition("]")
    if not closed:
        name = name.partition("#")[0]
        yield line.error(f"found {shown(line.text)}, expected ']' at the end of a section's name")
    elif rest.strip() and not rest.strip().startswith("#"):
        yield line.error(
            f"found {shown(rest.strip())} after a section's name, expected nothing", "put it on a new line"
        )
    yield Header(line.cut(1, 1 + len(name)).strip())


def _read_setting(line: Text) -> Setting | ConfigError:
    position = line.text.find("=")
    key = line.cut(0, position).strip()
    name = re.sub(r"\s", "", key.text)
    if position < 0 or "#" in key.text or not _NAME.fullmatch(name) or looks_like_key(name):
        return line.strip().error(f"found {shown(line.text.strip())}, expected 'Key = value'")
    return Setting(key._replace(text=name), line.cut(position + 1, len(line.text)).strip())
