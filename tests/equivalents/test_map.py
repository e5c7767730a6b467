"""The README's table leads to tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r"`(tests/[\w/.]+?)(?:::(\w+))?`")


def test_what_the_table_names_is_there() -> None:
    places = PLACE.findall(Path(__file__).with_name("README.md").read_text(encoding="utf-8"))
    assert len(places) > 15
    for path, test in places:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), f"{path}::{test}"
