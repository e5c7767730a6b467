"""The machinery of ``make mutation`` itself."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import wiresock_py.crypto
from tests.mutation.constants import Constant, Mutant, constants_of, install, mutants_of

SOURCE = """
import os
LIMIT = 7  # a limit
DERIVED = LIMIT * 2
_LABEL = b"mac1"
PART = 0.333
NAMES = {"a": 1}
FLAG = True
lower = 3

def limit() -> int:
    LOCAL = 5
    return LIMIT + LOCAL
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "mutated_sample"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "limits.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    yield "mutated_sample"
    for name in [name for name in sys.modules if name.startswith("mutated_sample")]:
        del sys.modules[name]


def found(package: str) -> dict[str, Constant]:
    return {constant.name: constant for constant in constants_of(importlib.import_module(package))}


def test_constants_are_found_by_reading_the_modules(package: str) -> None:
    assert {name: constant.value for name, constant in found(package).items()} == {
        "LIMIT": 7,
        "DERIVED": 14,
        "_LABEL": b"mac1",
        "PART": 0.333,
    }


def test_each_is_changed_a_little_and_never_left_as_it_is(package: str) -> None:
    constants = found(package)
    assert [mutant.value for mutant in mutants_of(constants["LIMIT"])] == [8, 6]
    assert [mutant.value for mutant in mutants_of(constants["_LABEL"])] == [b"mac0"]
    for constant in constants.values():
        assert constant.value not in [mutant.value for mutant in mutants_of(constant)]


def test_a_change_reaches_what_is_derived_from_it_and_nothing_else(package: str) -> None:
    constant = found(package)["LIMIT"]
    del sys.modules[f"{package}.limits"]
    install(Mutant(constant, "value + 1"))
    module: ModuleType = importlib.import_module(f"{package}.limits")
    assert (module.LIMIT, module.DERIVED, module.limit()) == (8, 16, 13)
    assert (module.PART, module._LABEL) == (0.333, b"mac1")


def test_a_module_that_is_imported_already_is_refused(package: str) -> None:
    constant = found(package)["LIMIT"]
    with pytest.raises(RuntimeError, match="imported already"):
        install(Mutant(constant, "value + 1"))


def test_the_constants_of_the_protocol_are_all_there() -> None:
    names = {constant.name for constant in constants_of(wiresock_py.crypto)}
    assert {"REKEY_AFTER_TIME", "REJECT_AFTER_MESSAGES", "REPLAY_WINDOW", "CONSTRUCTION", "PACKETS_BURSTABLE"} <= names
    assert len(names) > 40
