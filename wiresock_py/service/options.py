"""The options of ``run``, as they travel from the command line to the worker."""

from dataclasses import dataclass
from typing import Literal

KillSwitch = Literal["app", "all", "off"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Plain values only: they are sent to the worker as JSON."""

    files: tuple[str, ...]
    """The configurations, in order; the first match wins."""
    backend: str = ""
    """A backend's name; empty: this system's default."""
    kill_switch: KillSwitch = "app"
    """What is blocked without a tunnel: ``app`` what belongs in it, ``all`` the whole plan, ``off`` nothing once we are
    gone."""
    connect_timeout: float = 30.0
    """Seconds to wait for the first handshake before giving up; 0: keep trying for ever."""
    control_socket: str = ""
    """Path of the control socket; empty: the default one."""
    settings: str = ""
    """Path of settings.yaml; empty: the user's own, if there is one."""
    log_level: str = "info"
    """A level of the logging module, in lower case."""
    datapath: str = ""
    """A data path's name; empty: the best that is there."""
    replacing: bool = False
    """Whether an earlier worker of this run served before: what is open now, it left."""
