"""The tree: unit tests stand where what they test stands; what is too long for one file is test_MODULE_ASPECT.py."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
TREES = {"crypto": ROOT / "crypto", "filters": ROOT / "filters"}
"""Folders of the top level that tests/unit has under their own names; the rest is wiresock_py's."""
ABOUT_THE_PROJECT = {"test_documents.py", "test_layout.py", "test_packaging.py"}


def source_of(test: Path) -> Path:
    """The module, or the package, that a unit test is of."""
    parts = test.relative_to(UNIT).parts
    tree = TREES.get(parts[0]) if len(parts) > 1 else None
    folder = tree.joinpath(*parts[1:-1]) if tree else ROOT.joinpath("wiresock_py", *parts[:-1])
    name = parts[-1].removeprefix("test_").removesuffix(".py")
    if name == "package":
        return folder / "__init__.py"
    words = name.split("_")
    candidates = [folder / f"{'_'.join(words[:count])}.py" for count in range(len(words), 0, -1)]
    return next((path for path in candidates if path.exists()), candidates[0])


TESTS = sorted(path for path in UNIT.rglob("test_*.py") if path.name not in ABOUT_THE_PROJECT)


@pytest.mark.parametrize("test", TESTS, ids=lambda path: str(path.relative_to(UNIT)))
def test_a_unit_test_stands_where_its_module_stands(test: Path) -> None:
    assert source_of(test).exists(), f"{test.relative_to(ROOT)} is of no module: {source_of(test).relative_to(ROOT)}"


def test_there_are_tests_to_look_at() -> None:
    assert len(TESTS) > 50


def test_no_module_is_a_bag_of_things() -> None:
    bags = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    for tree in (ROOT / "wiresock_py", *TREES.values()):
        assert not {path.stem for path in tree.rglob("*.py")} & bags
