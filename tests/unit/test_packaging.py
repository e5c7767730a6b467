"""The explicit package list of pyproject.toml, which setuptools cannot find by itself (see CONTRIBUTING, Packaging)."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
# the top-level folders that install below wiresock_py, by import name
FOLDERS = {"wiresock_py": "wiresock_py", "wiresock_py.crypto": "crypto", "wiresock_py.filters": "filters"}


def folder_of(package: str) -> Path:
    """Where setuptools takes *package* from: the longest prefix in package-dir, then folder by folder."""
    mapped: dict[str, str] = SETUPTOOLS["package-dir"]
    name, rest = package, list[str]()
    while name not in mapped:
        name, _, last = name.rpartition(".")
        rest.insert(0, last)
    return ROOT.joinpath(mapped[name], *rest)


def sources() -> dict[str, Path]:
    """Every package there is below the folders, by import name; links are another way to the same folders."""
    found: dict[str, Path] = {}
    for name, top in FOLDERS.items():
        for init in (ROOT / top).rglob("__init__.py"):
            below = init.parent.relative_to(ROOT / top)
            if not any((ROOT / top).joinpath(*below.parts[:depth]).is_symlink() for depth in range(1, 20)):
                found[".".join((name, *below.parts))] = init.parent
    return found


def test_every_package_is_listed_and_every_listed_one_is_there() -> None:
    without_code = {name for name in SETUPTOOLS["packages"] if not (folder_of(name) / "__init__.py").exists()}
    assert set(SETUPTOOLS["packages"]) - without_code == set(sources())
    assert all(folder_of(name).is_dir() for name in without_code)


def test_every_listed_package_is_built_from_its_own_folder() -> None:
    for name, folder in sources().items():
        assert folder_of(name) == folder


def test_every_module_lies_in_a_package() -> None:
    packages = set(sources().values())
    for top in FOLDERS.values():
        for module in (ROOT / top).rglob("*.py"):
            if not any(parent.is_symlink() for parent in module.parents):
                assert module.parent in packages, f"{module} lies in no package: it would not be installed"


def test_every_data_file_is_listed() -> None:
    patterns: dict[str, list[str]] = SETUPTOOLS["package-data"]
    for name in SETUPTOOLS["packages"]:
        folder = folder_of(name)
        for file in folder.iterdir():
            if file.is_file() and file.suffix not in {".py", ".pyc"}:
                listed = any(fnmatch(file.name, pattern) for pattern in patterns.get(name, ()))
                assert listed, f"{file} is not in package-data: it would not be installed"
