"""``python -m tests.vectors FILE.json``: run every section of a vector file, one line each."""

import json
import sys
from pathlib import Path

from tests.vectors.cases import Json
from tests.vectors.sections import SCHEMA, SECTIONS, sections_of


def main(arguments: list[str]) -> int:
    """0 if every case of every section ran and passed, 1 if not, 2 for wrong usage or another schema."""
    if len(arguments) != 1:
        print("usage: python -m tests.vectors FILE.json", file=sys.stderr)
        return 2
    try:
        vectors = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 2
    if not isinstance(vectors, dict) or vectors.get("schema") != SCHEMA:
        print(f"{arguments[0]}: not of schema {SCHEMA}", file=sys.stderr)
        return 2
    results = [run_section(name, vectors) for name in sections_of(vectors)]
    return 0 if results and all(results) else 1


def run_section(name: str, vectors: Json) -> bool:
    """Run one section and print its line; whether everything in it ran and passed."""
    if name not in SECTIONS:
        print(f"{name:20} SKIPPED: no runner for this section")
        return False
    passed = failed = 0
    mismatch = ""
    try:
        for case in SECTIONS[name](vectors):
            try:
                case.run()
                passed += 1
            except Exception as error:  # a vector that breaks its runner has failed like any other
                failed += 1
                mismatch = mismatch or f"; first: {case.name}: {type(error).__name__}: {error}"
    except Exception as error:
        failed += 1
        mismatch = mismatch or f"; cannot be read: {type(error).__name__}: {error}"
    verdict = "ok" if passed and not failed else "FAILED"
    print(f"{name:20} {verdict:6} {passed} passed, {failed} failed{' '.join(mismatch.split())}")
    return verdict == "ok"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
