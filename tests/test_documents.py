"""What the documents say that can be checked: links lead somewhere, commands and exit codes exist."""

import re
from pathlib import Path

import pytest

from wiresock_py import errors
from wiresock_py.cli.program import COMMANDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def anchors(document: Path) -> set[str]:
    """The anchors of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        place = document if not path else (document.parent / path).resolve()
        assert place.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_exists(document: Path) -> None:
    for name in re.findall(r"(?:wiresock-py|^\$ wiresock-py) ([a-z]+)\b", document.read_text("utf-8")):
        if name not in {"is", "says"}:  # prose
            assert name in COMMANDS, f"{document.name} shows wiresock-py {name}"


def test_the_guide_lists_the_exit_codes_there_are() -> None:
    listed = re.findall(r"^\| (\d) \| (.+) \|$", (ROOT / "docs" / "guide.md").read_text("utf-8"), re.MULTILINE)
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code, _ in listed} == codes | {0}
