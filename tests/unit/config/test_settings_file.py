import os
from dataclasses import replace
from pathlib import Path

import pytest

from wiresock_py.config import Settings, load_settings, settings_file
from wiresock_py.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "configs" / "settings.yaml"


def test_the_users_file_comes_before_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, machine = tmp_path / "user.yaml", tmp_path / "machine.yaml"
    monkeypatch.setattr(settings_file, "settings_paths", lambda: (user, machine))
    assert load_settings() == Settings()
    machine.write_text("backend: memory")
    assert load_settings().backend == "memory"
    user.write_text("backend: netfilter")
    assert load_settings().backend == "netfilter"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "settings.yaml")


def test_the_default_places_are_the_users_and_the_machines() -> None:
    user, machine = settings_file.settings_paths()
    assert user.name == machine.name == "settings.yaml"
    assert user.parent.name == machine.parent.name == "wiresock-py"
    assert user != machine


def test_the_example_states_the_defaults_and_groups() -> None:
    given = load_settings(EXAMPLE)
    assert replace(given, app_groups={}) == Settings()
    assert "chrome" in given.app_groups["browsers"]


def test_a_home_that_may_not_be_entered_has_no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(settings_file, "settings_paths", lambda: (tmp_path / "settings.yaml",))
    monkeypatch.setattr(os, "stat", refuse)
    assert load_settings() == Settings()
