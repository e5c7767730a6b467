"""Puts the figures where people read them: between marks in documents, so that the text around them stays."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PERFORMANCE, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
COMMAND = "make bench"
"""What makes the figures."""
BEGIN, END = "<!-- figures of `{command}`: begin -->", "<!-- figures: end -->"


def put(document: Path, command: str, figures: str) -> None:
    """Replace what stands between the marks of *command* in *document*. Raises ValueError where there are none."""
    document.write_text(replaced(document.read_text("utf-8"), command, figures), "utf-8")


def replaced(text: str, command: str, figures: str) -> str:
    """*text* with *figures* between the marks of *command*."""
    begin = BEGIN.format(command=command)
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"there are no marks {begin} … {END}")
    return f"{before}{begin}\n{figures.strip()}\n{END}{after}"
