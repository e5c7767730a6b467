import pytest
from click.testing import CliRunner

from wiresock_py.cli import main
from wiresock_py.demo import story


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of the demo fails for want of time, which takes none."""
    monkeypatch.setattr(story, "LIMIT", 0.0)


@pytest.mark.usefixtures("no_time")
def test_a_step_that_fails_is_in_the_table_and_in_the_exit_code() -> None:
    result = CliRunner().invoke(main, ["demo", "--memory"])
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "not done: no time left" in result.stderr
    assert "In memory" in result.stderr


@pytest.mark.usefixtures("no_time")
def test_where_there_is_no_lab_it_says_why_in_one_line_and_plays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiresock_py.demo.lab_stage.unavailable_reason", lambda: "the lab needs root; run it as root")
    result = CliRunner().invoke(main, ["demo"])
    first = result.stderr.splitlines()[0]
    assert first == "the lab needs root; run it as root; meanwhile the same story on the memory backend"
    assert "In memory" in result.stderr
