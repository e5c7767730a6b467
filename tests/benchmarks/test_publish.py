"""benchmarks.publish: only what stands between the marks is changed."""

from pathlib import Path

import pytest

from benchmarks.publish import COMMAND, PERFORMANCE, README, put, replaced

TEXT = "before\n<!-- figures of `make x`: begin -->\nold\n<!-- figures: end -->\nafter\n"


def test_the_text_around_the_figures_stays() -> None:
    assert replaced(TEXT, "make x", "\nnew\n\n") == TEXT.replace("old", "new")


def test_putting_twice_is_putting_once(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(TEXT)
    put(document, "make x", "new")
    once = document.read_text()
    put(document, "make x", "new")
    assert document.read_text() == once


@pytest.mark.parametrize("text", ["nothing", TEXT.replace("end", "over"), TEXT.replace("make x", "make y")])
def test_a_document_without_marks_is_left_alone(text: str) -> None:
    with pytest.raises(ValueError, match="no marks"):
        replaced(text, "make x", "new")


@pytest.mark.parametrize("document", [PERFORMANCE, README], ids=lambda path: path.name)
def test_the_documents_have_a_place_for_the_figures(document: Path) -> None:
    assert replaced(document.read_text("utf-8"), COMMAND, "figures").count("figures\n") >= 1
