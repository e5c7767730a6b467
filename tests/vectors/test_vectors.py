"""Every case of every section of our vector file, each a test."""

import json
from pathlib import Path

import pytest

from tests.vectors.__main__ import main
from tests.vectors.cases import Case
from tests.vectors.sections import SCHEMA, SECTIONS, sections_of

FILE = Path(__file__).with_name("wireguard-vectors.json")
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = [
    pytest.param(case, id=f"{section}: {case.name}")
    for section in sections_of(VECTORS)
    if section in SECTIONS
    for case in SECTIONS[section](VECTORS)
]


@pytest.mark.parametrize("case", CASES)
def test_vector(case: Case) -> None:
    case.run()


def test_every_section_of_the_file_has_a_runner() -> None:
    assert set(sections_of(VECTORS)) == set(SECTIONS)


def test_every_section_yields_a_case_for_each_entry() -> None:
    for section in ("handshake_negative", "transport_edge", "padding", "ratelimiter", "timer_scenarios"):
        assert len(list(SECTIONS[section](VECTORS))) == len(VECTORS[section])


def test_the_command_ends_with_0_only_if_all_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"schema": SCHEMA, "padding": [{"length": 1, "mtu": 0, "padded_length": 16}]}
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps(good))
    assert main([str(file)]) == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out

    bad = {**good, "padding": [*good["padding"], {"length": 1, "mtu": 0, "padded_length": 17}]}
    file.write_text(json.dumps(bad))
    assert main([str(file)]) == 1
    assert "first: 1 of MTU 0: AssertionError: padded length: got 16, expected 17" in capsys.readouterr().out


@pytest.mark.parametrize("section", [{"no_such_section": [1]}, {"padding": []}, {"padding": 7}, {"replay": {}}])
def test_the_command_ends_with_1_if_anything_is_skipped(section: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({"schema": SCHEMA, **section}))
    assert main([str(file)]) == 1


@pytest.mark.parametrize("section", ["cookies", "checksums", "decapsulation", "replay", "primitives"])
def test_a_part_of_a_section_that_nobody_knows_is_not_skipped(
    section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vectors.json"
    needed = {name: VECTORS[name] for name in ("schema", "handshakes")}
    file.write_text(json.dumps({**needed, section: {**VECTORS[section], "news": [{"line": "a\nb"}]}}))
    assert main([str(file)]) == 1
    assert "1 failed; first: news" in capsys.readouterr().out


def test_a_mismatch_takes_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({"schema": SCHEMA, "padding": [{"length": "a\nb", "mtu": 0, "padded_length": 1}]}))
    assert main([str(file)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_another_schema_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "vectors.json"
    file.write_text(json.dumps({"schema": "something/else"}))
    assert main([str(file)]) == 2
    assert main([str(tmp_path / "absent.json")]) == 2
    file.write_text("[" * 100_000)
    assert main([str(file)]) == 2
    assert main([]) == 2
