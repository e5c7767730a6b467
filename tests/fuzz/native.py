"""The targets in ``native/fuzz``: the compiled data path's own functions, under AddressSanitizer and without Python."""

from pathlib import Path

from tests.support.rust import ADDRESS_SANITIZER, COVERAGE, ROOT, cargo

FOLDER = ROOT / "native" / "fuzz"
PREFIX = "native_"
NAMES = [PREFIX + path.stem for path in sorted((FOLDER / "fuzz_targets").glob("*.rs"))]


def build() -> Path:
    """Build all of them; where they are."""
    folder = ROOT / ".cache" / "fuzz-build"
    flags = f"{ADDRESS_SANITIZER} {COVERAGE}"
    return cargo("build", "--release", manifest="native/fuzz/Cargo.toml", flags=flags, folder=folder) / "release"
