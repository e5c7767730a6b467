"""The errors a user can meet, each with its remedy, and the exit code it ends the program with.

    WiresockError
    ├── ConfigError        a faulty wg0.conf or settings.yaml: file, line, column, found, expected, nearest key
    ├── BackendError       interception cannot work: no rights, no driver, no iptables, unknown backend
    ├── NetworkError       no default route, an endpoint that does not resolve, a port in use
    └── ControlError       no running client to talk to, or it refused

Everything else that leaves this program is a bug. What arrives from the network never raises: it is a counted drop.
Messages never contain a key or the contents of a packet.
"""

from collections.abc import Iterable

# Exit codes, documented in the user guide: 0 done, 1 an unexpected failure, 2 wrong usage (click's own).
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_BACKEND = 4
EXIT_NETWORK = 5
EXIT_CONTROL = 6


class WiresockError(Exception):
    """Something the user can mend: ``str(error)`` says what was found and where, ``remedy`` what to do."""

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy

    def all(self) -> "tuple[WiresockError, ...]":
        """This error, and those found with it."""
        return (self,)


class ConfigError(WiresockError):
    """A faulty configuration; line and column count from 1, 0 where there is none to name.

    *others* are the further mistakes of the same file.
    """

    exit_code = EXIT_CONFIG

    def __init__(self, message: str, remedy: str = "", *, file: str = "", line: int = 0, column: int = 0) -> None:
        super().__init__(message, remedy)
        self.file = file
        self.line = line
        self.column = column
        self.others: tuple[ConfigError, ...] = ()

    @classmethod
    def of_many(cls, mistakes: "Iterable[ConfigError]") -> "ConfigError":
        """The first of *mistakes*, with the rest of them in ``others``."""
        first, *rest = [each for mistake in mistakes for each in mistake.all()]
        first.others = tuple(rest)
        return first

    def all(self) -> "tuple[ConfigError, ...]":
        return (self, *self.others)

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        message = super().__str__()
        return f"{place}: {message}" if place else message


class BackendError(WiresockError):
    """Interception cannot work here, and why."""

    exit_code = EXIT_BACKEND


class NetworkError(WiresockError):
    """The network outside does not let us work: no route, no name, no port."""

    exit_code = EXIT_NETWORK


class ControlError(WiresockError):
    """No running client answers, or it refused the request."""

    exit_code = EXIT_CONTROL
