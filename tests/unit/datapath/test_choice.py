"""Which data path is used."""

import subprocess
import sys

import pytest

from wiresock_py.datapath import DEFAULT, NATIVE, PYTHON, choice
from wiresock_py.errors import BackendError


def test_each_is_found_by_its_name() -> None:
    assert choice.choose("python") is PYTHON
    assert choice.choose() is DEFAULT
    if NATIVE is not None:
        assert choice.choose("native") is NATIVE is DEFAULT
        assert choice.available() == {"python": None, "native": None}


def test_where_it_was_not_built_python_works_and_native_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "NATIVE", None)
    monkeypatch.setattr(choice, "DEFAULT", PYTHON)
    monkeypatch.setattr(choice, "MISSING", "it was not built")
    assert choice.choose() is PYTHON
    assert choice.available() == {"python": None, "native": "it was not built"}
    with pytest.raises(BackendError, match="not built") as raised:
        choice.choose("native")
    assert "--datapath python" in raised.value.remedy


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        ("sys.modules['wiresock_py._native'] = None", "Rust"),
        ("Refusal.error = ModuleNotFoundError('not there', name='wiresock_py._native')", "Rust"),
        ("Refusal.error = ImportError('wrong ELF class')", "cannot be loaded: wrong ELF class"),
    ],
    ids=["blocked", "missing", "damaged"],
)
def test_a_module_that_is_not_there_or_another_is_told_apart(hidden: str, reason: str) -> None:
    refusal = """
import sys
class Refusal:
    error = None
    @classmethod
    def find_spec(cls, name, *_):
        if name == "wiresock_py._native" and cls.error:
            raise cls.error
sys.meta_path.insert(0, Refusal)
"""
    code = f"{refusal}\n{hidden}\nfrom wiresock_py.datapath import choice; print(choice.DEFAULT.name, choice.MISSING)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert said.startswith("python ")
    assert reason in said
