"""How the program talks: plain lines on standard error, for people; results go to standard output, elsewhere."""

import logging
import sys

from wiresock_py.errors import WiresockError

log = logging.getLogger(__name__)


def set_up_logging(level: str) -> None:
    """Send this program's log to standard error from *level* (debug, info, warning, error) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def say_error(error: WiresockError) -> None:
    """One line: what was found, and the remedy; one more for each further mistake of a file."""
    for each in error.all():
        log.error("%s%s", each, f" ({each.remedy})" if each.remedy else "")
