"""Reading a wg0.conf from disk."""

import codecs
import os
from dataclasses import replace
from pathlib import Path

from wiresock_py.config.advice import advise_apps, advise_file
from wiresock_py.config.model import Config
from wiresock_py.config.parser import parse
from wiresock_py.config.store import SUFFIX, stored, unprotect
from wiresock_py.errors import ConfigError

# Far more than 4,096 prefixes and 1,024 apps need; it keeps a wrong path (a disk image, /dev/zero) out of memory.
MAX_FILE_SIZE = 1 << 20
_WG_QUICK = Path("/etc/wireguard")


def load(path: str | Path) -> Config:
    """The config in the file *path*, with notices on the file's permissions and on apps this machine does not have.

    On Windows *path* may also be the name of a configuration that was imported. Raises ConfigError, also where the
    file cannot be read or is no text.
    """
    path = Path(path)
    place = stored(path)
    config = parse(read_text(place), str(path))
    return replace(config, notices=(*advise_file(place), *config.notices, *advise_apps(config)))


def _meant(path: Path) -> str:
    """A remedy that names the file of an interface's name: ``wg0``, as wg-quick takes it. Here a file is a path."""
    for folder in (path.parent, _WG_QUICK):
        candidate = folder / f"{path.name.removesuffix('.conf')}.conf"
        if candidate != path and os.path.exists(candidate):  # noqa: PTH110 - False where Path.exists raises
            return f"did you mean {candidate}?"
    return ""


def read_text(path: Path) -> str:
    """The text of a configuration file: UTF-8, or UTF-16 with its byte order mark, as Windows editors save it.

    One that was imported is decrypted.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        raise ConfigError("there is no such file", _meant(path) or "check the path", file=file) from None
    except PermissionError:
        if path.is_dir():  # on Windows
            raise ConfigError("this is a folder, expected a file", "name a file in it", file=file) from None
        raise ConfigError("this file may not be read by this user", "run as its owner, or as root", file=file) from None
    except IsADirectoryError:
        raise ConfigError("this is a folder, expected a file", "name a file in it", file=file) from None
    except OSError as error:
        raise ConfigError(f"this file cannot be read: {error.strerror}", file=file) from None
    if path.suffix == SUFFIX:
        try:
            data = unprotect(data)
        except OSError as error:
            message = f"this file cannot be decrypted: {error.strerror or error}"
            raise ConfigError(message, "import the configuration again, on this machine", file=file) from None
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError(f"this file is larger than {MAX_FILE_SIZE} bytes, expected a configuration", file=file)
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - before.rfind(b"\n")
        message = f"found the byte 0x{data[error.start]:02x}, expected UTF-8 text"
        raise ConfigError(message, "save the file as UTF-8", file=file, line=line, column=column) from None
    if "\0" in text:
        raise ConfigError("found zero bytes, expected UTF-8 text", "save the file as UTF-8", file=file)
    return text
