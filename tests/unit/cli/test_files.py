from pathlib import Path

import pytest

from tests.support.configs import conf, config
from wiresock_py.cli.files import load_configs, tell_notices
from wiresock_py.errors import ConfigError


def test_the_files_are_loaded_in_their_order(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("b.conf", "a.conf")]
    for file in files:
        file.write_text(conf())
    assert [given.name for given in load_configs(files)] == ["b", "a"]


def test_a_mistake_in_one_file_does_not_hide_those_of_the_next(tmp_path: Path) -> None:
    (tmp_path / "b.conf").write_text(conf("AllowedIPs = x\nEndpoint = y"))
    with pytest.raises(ConfigError) as caught:
        load_configs([tmp_path / "a.conf", tmp_path / "b.conf"])
    assert "no such file" in str(caught.value)
    assert [error.line for error in caught.value.others] == [6, 7]


def test_notices_go_to_stderr_a_line_each_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    tell_notices([*config().notices, *config(file="b.conf").notices])
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "warning: wg0.conf: there is no [Peer]: nothing will be tunnelled (add one)",
        "warning: b.conf: there is no [Peer]: nothing will be tunnelled (add one)",
    ]
