"""The driver's version, and what these bindings need of it."""

from typing import NamedTuple

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi.device import DOWNLOAD, request_name
from wiresock_py.filters.ndisapi.raw.constants import GET_VERSION_FAILURE
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl


class Version(NamedTuple):
    """Compares as versions do."""

    major: int
    minor: int
    revision: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}"

    @classmethod
    def from_word(cls, word: int) -> "Version":
        """Of what GET_VERSION answers: 0x06013000 is 3.6.1."""
        return cls(word >> 12 & 0xF, word >> 24 & 0xFF, word >> 16 & 0xFF)

    @property
    def word(self) -> int:
        return self.major << 12 | self.minor << 24 | self.revision << 16


# Before it STATIC_FILTER and its parts had another layout.
OLDEST = Version(3, 4, 0)


def check_version(word: int) -> Version:
    """The version behind GET_VERSION's answer. Raises BackendError if these bindings cannot talk to it."""
    if word == GET_VERSION_FAILURE:
        raise BackendError("the driver does not tell its version", f"install a current one: {DOWNLOAD}")
    version = Version.from_word(word)
    if version.major != OLDEST.major or version < OLDEST:
        raise BackendError(
            f"the driver's version is {version}, these bindings are for {OLDEST} and later of {OLDEST.major}.x",
            f"install a current one: {DOWNLOAD}",
        )
    return version


def check_request(code: Ioctl, version: Version) -> None:
    """Raises BackendError if a driver of this version does not know *code*."""
    if version < code.since:
        since = Version(*code.since)
        raise BackendError(
            f"{request_name(code)} came with driver {since}, this is {version}", f"install a newer one: {DOWNLOAD}"
        )
