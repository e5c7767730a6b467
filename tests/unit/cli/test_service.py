from pathlib import Path

import pytest
from click.testing import CliRunner

from wiresock_py.cli import main
from wiresock_py.service import windows_service
from wiresock_py.service.options import RunOptions

TEXT = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.0.0.2/32\n"


def test_it_is_installed_with_the_options_of_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(TEXT)
    installed: list[RunOptions] = []
    monkeypatch.setattr(windows_service, "install", installed.append)
    result = CliRunner().invoke(main, ["service", "install", str(file), "--kill-switch", "all"])
    assert result.exit_code == 0, result.output
    (options,) = installed
    assert (options.files, options.kill_switch, options.connect_timeout) == ((str(file),), "all", 0.0)


def test_a_faulty_configuration_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows_service, "install", lambda _options: pytest.fail("installed"))
    assert CliRunner().invoke(main, ["service", "install", str(tmp_path / "nosuch.conf")]).exit_code == 3


@pytest.mark.parametrize("verb", ["uninstall", "start", "stop"])
def test_the_other_verbs_do_what_they_say(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    done: list[str] = []
    monkeypatch.setattr(windows_service, verb, lambda: done.append(verb))
    assert CliRunner().invoke(main, ["service", verb]).exit_code == 0
    assert done == [verb]
