"""The options survive their way to the worker."""

import dataclasses
import json

from wiresock_py.service.options import RunOptions


def test_they_come_back_from_json_as_they_were() -> None:
    options = RunOptions(
        ("a.conf", "b.conf"), "netfilter", "all", 0.0, "/run/c.sock", "s.yaml", "debug", "python", True
    )
    said = json.loads(json.dumps(dataclasses.asdict(options)))
    assert RunOptions(**{**said, "files": tuple(said["files"])}) == options


def test_by_default_the_apps_of_the_tunnel_are_held_back() -> None:
    options = RunOptions(("a.conf",))
    assert (options.kill_switch, options.connect_timeout, options.log_level) == ("app", 30.0, "info")
