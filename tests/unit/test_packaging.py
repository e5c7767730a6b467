"""What is installed: every package, and nothing of ours beside ``wiresock_py``."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.wine import in_wine

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = SETTINGS["tool"]["setuptools"]
FOLDERS = {"wiresock_py": "wiresock_py", "wiresock_py.crypto": "crypto", "wiresock_py.filters": "filters"}
"""Import names of the trees at the top level; wiresock_py/crypto and /filters are links to them, for editors."""

DATA = {"wiresock_py.configs": "configs"}
"""Folders without code that are installed: the examples."""


def packages() -> dict[str, str]:
    """Import name and folder of everything to install: each folder with an ``__init__.py``, and the data."""
    found = dict(DATA)
    for name, folder in FOLDERS.items():
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT / folder).parts
            if folder == "wiresock_py" and parts[:1] in (("crypto",), ("filters",)):
                continue
            found[".".join((name, *parts))] = "/".join((folder, *parts))
    return found


def test_every_package_is_listed() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages())


def test_packages_of_other_folders_are_mapped_to_them() -> None:
    mapped = SETUPTOOLS["package-dir"]
    for name, folder in packages().items():
        if not folder.startswith("wiresock_py"):
            assert mapped.get(name) == folder
    assert set(mapped) <= set(packages())


needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(),
    reason="for other systems: there is no git in Wine" if in_wine() else "no git checkout to build from",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel without the compiled data path, from a copy of what git knows, so that no leftover here gets in."""
    copy = tmp_path_factory.mktemp("source") / "tree"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    build = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    out = tmp_path_factory.mktemp("wheel")
    env = os.environ | {"WIRESOCK_PY_NATIVE": "0"}
    subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=copy, check=True, capture_output=True, timeout=60, env=env
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


@needs_git
def test_the_wheel_is_for_every_system(wheel: zipfile.ZipFile) -> None:
    assert str(wheel.filename).endswith("-py3-none-any.whl")


@needs_git
def test_the_wheel_has_only_our_one_name_at_the_top(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"wiresock_py"}


@needs_git
def test_the_wheel_has_every_module_and_all_data_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = set()
    for name, folder in packages().items():
        for pattern in ("*.py", *SETUPTOOLS["package-data"].get(name, ())):
            files = [path.name for path in (ROOT / folder).glob(pattern)]
            assert files or pattern == "*.py"
            expected |= {f"{name.replace('.', '/')}/{file}" for file in files}
    assert {name for name in wheel.namelist() if not name.split("/")[0].endswith(".dist-info")} == expected


def test_the_command_is_installed_by_its_name() -> None:
    assert SETTINGS["project"]["scripts"] == {"wiresock-py": "wiresock_py.cli:main"}
