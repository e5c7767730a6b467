import sys
from importlib.metadata import PackageNotFoundError

import pytest

from wiresock_py.errors import BackendError
from wiresock_py.filters.windivert import handle
from wiresock_py.filters.windivert.handle import Flag, load_driver, missing, priority


def test_what_sends_stands_below_what_receives_and_above_other_programs() -> None:
    assert 0 < priority(Flag.SEND_ONLY) < priority(Flag.NONE) == priority(Flag.DROP)


def test_a_missing_package_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(handle, "version", gone)
    assert "pydivert" in missing()
    with pytest.raises(BackendError, match="not installed") as caught:
        load_driver()
    assert caught.value.remedy == "pip install 'wiresock-py[windivert]'"


@pytest.mark.parametrize(("found", "old"), [("3.1.3", True), ("4.0.0", False), ("10.2", False)])
def test_an_old_package_is_told(monkeypatch: pytest.MonkeyPatch, found: str, old: bool) -> None:
    monkeypatch.setattr(handle, "version", lambda _name: found)
    assert missing() == (f"pydivert {found} is too old, version 4 is needed" if old else "")


def test_other_systems_have_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "version", lambda _name: "4.0.1")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BackendError, match="this is darwin"):
        load_driver()
