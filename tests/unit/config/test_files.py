from pathlib import Path

import pytest

from tests.support.configs import EVERYTHING, conf
from wiresock_py.config import files, load, parse
from wiresock_py.config.files import MAX_FILE_SIZE
from wiresock_py.errors import ConfigError

EXAMPLES = sorted((Path(__file__).parents[3] / "configs").glob("*.conf"))
TEXT = conf(f"{EVERYTHING}\nEndpoint = bücher.example:51820\nAllowedApps = chrome")


def fails(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_utf_8_is_read_and_utf_16_that_says_so(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "wg0.conf"
    mark = "\ufeff" if encoding.endswith("e") else ""
    file.write_bytes((mark + TEXT).encode(encoding))
    assert load(file) == parse(TEXT, str(file))


def test_utf_16_that_does_not_say_so_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_bytes(conf().encode("utf-16-le"))
    error = fails(file)
    assert "expected UTF-8 text" in str(error)
    assert error.remedy == "save the file as UTF-8"


def test_a_byte_that_is_not_utf_8_is_named_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_bytes(b"[Interface]\n# b\xfccher\n")
    error = fails(file)
    assert "0xfc" in str(error)
    assert (error.line, error.column) == (2, 4)


def test_a_missing_file_and_a_folder_are_errors_with_a_remedy(tmp_path: Path) -> None:
    assert "no such file" in str(fails(tmp_path / "none.conf"))
    assert "a folder" in str(fails(tmp_path))


def test_an_interfaces_name_gets_the_file_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WG_QUICK", tmp_path / "wireguard")
    monkeypatch.chdir(tmp_path)
    assert fails(Path("wg0")).remedy == "check the path"
    (tmp_path / "wireguard").mkdir()
    kept = tmp_path / "wireguard" / "wg0.conf"
    kept.touch()
    assert fails(Path("wg0")).remedy == fails(Path("wg0.conf")).remedy == f"did you mean {kept}?"
    (tmp_path / "wg0.conf").touch()
    assert fails(Path("wg0")).remedy == "did you mean wg0.conf?"


def test_a_file_beyond_a_megabyte_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_bytes(b"#" * MAX_FILE_SIZE)
    assert "no PrivateKey" in str(fails(file))
    file.write_bytes(b"#" * (MAX_FILE_SIZE + 1))
    assert "larger than" in str(fails(file))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_valid_and_needs_no_advice_but_on_this_machine(file: Path) -> None:
    config = load(file)
    assert config.peers
    strange = [
        notice
        for notice in config.notices
        if "on this machine" not in notice.message and "other users may read" not in notice.message
    ]
    assert strange == []


def test_there_are_examples() -> None:
    assert {file.name for file in EXAMPLES} >= {"chrome.conf", "all-apps.conf", "several-peers.conf"}


def test_a_file_of_a_mebibyte_with_4096_prefixes_and_1024_apps_is_read(tmp_path: Path) -> None:
    prefixes = ", ".join(f"10.{n >> 4}.{(n & 15) << 4}.0/20" for n in range(4096))
    apps = "\n".join(f"#@ws:AllowedApps = /opt/app{n}/bin, C:\\Program Files\\App {n}\\" for n in range(512))
    text = conf(f"AllowedIPs = {prefixes}\n{apps}\n")
    file = tmp_path / "big.conf"
    file.write_text(text + "# padding\n" * ((MAX_FILE_SIZE - len(text.encode())) // 10), newline="\n")
    assert MAX_FILE_SIZE - 10 < file.stat().st_size <= MAX_FILE_SIZE
    (peer,) = load(file).peers
    assert (len(peer.allowed_ips), len(peer.allowed_apps)) == (4096, 1024)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", " \t "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_blanks_and_line_ends_of_editors_do_not_matter(
    tmp_path: Path, encoding: str, blank: str, end: str
) -> None:
    plain = conf("AllowedIPs = 10.0.0.0/8, ::/0\nAllowedApps = büro app, /opt/x\nAllowedDomains = a.test")
    file = tmp_path / "wg0.conf"
    file.write_bytes(
        plain.replace(" = ", f"{blank}={blank}").replace(", ", f",{blank}").replace("\n", end).encode(encoding)
    )
    assert load(file).peers == parse(plain, str(file)).peers


@pytest.mark.parametrize("line", ["AllowedApps = “chrome”", "AllowedApps = 'chrome'", "AllowedIPs = “10.0.0.0/8”"])
def test_smart_and_plain_quotes_are_told_with_their_place(tmp_path: Path, line: str) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text(conf(line), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"wg0\.conf:6:\d+: Allowed\w+: found the quotation mark"):
        load(file)
