"""A pytest plugin: the compiled data path is the one built with the sanitizer, and only it is tested."""

import importlib.util
import sys

import pytest

import wiresock_py
from tests.support.rust import SANITIZED

NAME = "wiresock_py._native"

_spec = importlib.util.spec_from_file_location(NAME, SANITIZED)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
sys.modules[NAME] = _module
setattr(wiresock_py, "_native", _module)  # noqa: B010 - mypy knows a module of this name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what runs over Python's data path."""
    items[:] = [item for item in items if "[python" not in item.name]
