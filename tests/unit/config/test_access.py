import sys
from pathlib import Path

import pytest

from wiresock_py.config.access import access_list, other_readers

ME = "S-1-5-21-1-2-3-1001"


@pytest.mark.parametrize(
    ("entries", "others"),
    [
        ("(A;ID;FA;;;SY)(A;ID;FA;;;BA)", []),
        (f"(A;;FA;;;{ME})(A;;FA;;;OW)", []),
        ("(A;ID;0x1200a9;;;BU)", ["Users"]),
        ("(A;;FR;;;WD)(A;;FA;;;AU)(A;;GR;;;S-1-5-21-9)", ["Everyone", "Authenticated Users", "S-1-5-21-9"]),
        ("(A;;FR;;;BU)(A;;FA;;;BU)", ["Users"]),
        ("(A;OICIIO;FA;;;BU)", []),  # for what will be made below, not for this
        ("(D;;FR;;;BU)", []),
        ("(A;;FW;;;BU)(A;;0x100;;;BU)(A;;FX;;;BU)", []),  # may write or run it, not read
        ("(XA;;FR;;;BU;(@User.clearance > 3))", ["Users"]),
        ("(A;;0x80000000;;;WD)", ["Everyone"]),
    ],
)
def test_readers_are_those_that_the_list_lets_read(entries: str, others: list[str]) -> None:
    assert other_readers(f"O:{ME}D:PAI{entries}") == others


@pytest.mark.parametrize("sddl", [f"O:{ME}", f"O:{ME}D:NO_ACCESS_CONTROL"])
def test_without_a_list_everybody_may_read(sddl: str) -> None:
    assert other_readers(sddl) == ["Everyone"]


def test_an_empty_list_lets_nobody_read() -> None:
    assert other_readers(f"O:{ME}D:P") == []


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: asks Windows")
def test_windows_tells_the_list_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "wg0.conf"
    file.write_text("")
    assert access_list(file).startswith("O:")
    with pytest.raises(OSError, match="does not tell who may read"):
        access_list(tmp_path / "nosuch")
