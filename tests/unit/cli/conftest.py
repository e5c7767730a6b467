"""Files of the tests are as private as a test states, whatever folder of whose machine they lie in."""

import sys

import pytest


@pytest.fixture(autouse=True)
def private_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a mode says nothing of who may read a file: nobody else may."""
    if sys.platform == "win32":
        monkeypatch.setattr("wiresock_py.config.advice.access_list", lambda _path: "O:BAD:P(A;;FA;;;SY)")
