import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.configs import PRIVATE_KEY
from wiresock_py.cli import main
from wiresock_py.crypto.keys import PrivateKey


def test_genkey_prints_a_new_clamped_private_key_each_time() -> None:
    first, second = (CliRunner().invoke(main, ["genkey"]).stdout for _ in range(2))
    assert first != second
    raw = bytes(PrivateKey.from_base64(first.removesuffix("\n")))
    # RFC 7748 section 5: the three lowest bits and the highest one clear, the second highest set.
    assert (raw[0] & 7, raw[31] >> 6) == (0, 1)


def test_genpsk_prints_32_random_bytes() -> None:
    first, second = (CliRunner().invoke(main, ["genpsk"]).stdout for _ in range(2))
    assert first != second
    assert len(first) == 45


@pytest.mark.parametrize("blanks", ["", "\n", "\r\n", "  \n\n"])
def test_pubkey_prints_the_public_key_of_stdin(blanks: str) -> None:
    result = CliRunner().invoke(main, ["pubkey"], input=PRIVATE_KEY + blanks)
    # As `wg pubkey` answers for this key.
    assert result.stdout == "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=\n"


@pytest.mark.parametrize("given", [b"", PRIVATE_KEY[:-1].encode(), b"\xff\xfe\x00", PRIVATE_KEY.encode() * 2])
def test_pubkey_of_something_else_is_an_error_that_does_not_show_it(given: bytes) -> None:
    result = CliRunner().invoke(main, ["pubkey"], input=given)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: standard input holds no private key")
    assert PRIVATE_KEY[:10] not in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="for other systems: permission bits are a matter of POSIX")
@pytest.mark.parametrize(("mode", "warns"), [(0o644, True), (0o600, False)])
def test_a_key_written_to_a_file_others_can_read_gets_a_warning(tmp_path: Path, mode: int, warns: bool) -> None:
    file = tmp_path / "key"
    file.touch(mode)
    file.chmod(mode)
    with file.open("wb") as output:
        command = [sys.executable, "-m", "wiresock_py", "genkey"]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=True, timeout=60)
    assert ("umask 077" in done.stderr) is warns
    assert len(file.read_text()) == 45
