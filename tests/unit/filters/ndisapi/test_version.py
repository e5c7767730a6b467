"""Driver versions."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.errors import BackendError
from wiresock_py.filters.ndisapi.raw.constants import GET_VERSION_FAILURE, NDISRD_VERSION
from wiresock_py.filters.ndisapi.raw.ioctl import Ioctl
from wiresock_py.filters.ndisapi.version import OLDEST, Version, check_request, check_version

HISTORY = json.loads((Path(__file__).parents[3] / "vectors" / "ndisapi-abi.json").read_text())["version_history"]
RELEASES = {text: int(word, 16) for text, word in HISTORY.items() if word.startswith("0x")}


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_is_read_from_its_word(release: str) -> None:
    assert str(Version.from_word(RELEASES[release])) == ".".join(release.split(".")[:3])


@given(st.builds(Version, st.integers(0, 15), st.integers(0, 255), st.integers(0, 255)))
def test_a_version_survives_its_word(version: Version) -> None:
    assert Version.from_word(version.word) == version


def test_the_header_says_3_6_1() -> None:
    assert check_version(NDISRD_VERSION) == Version(3, 6, 1)


@pytest.mark.parametrize("version", [Version(3, 2, 32), Version(4, 0, 0), Version(2, 9, 0)])
def test_a_driver_with_other_structures_is_refused(version: Version) -> None:
    with pytest.raises(BackendError, match=f"version is {version}") as caught:
        check_version(version.word)
    assert "https://" in caught.value.remedy


def test_the_oldest_one_will_do() -> None:
    assert check_version(OLDEST.word) == OLDEST


def test_a_driver_without_a_version_is_refused() -> None:
    with pytest.raises(BackendError, match="does not tell its version"):
        check_version(GET_VERSION_FAILURE)


def test_a_request_that_came_later_is_refused_by_name() -> None:
    with pytest.raises(BackendError, match=r"ADD_PACKET_FILTER_BACK came with driver 3\.6\.1, this is 3\.4\.8"):
        check_request(Ioctl.ADD_PACKET_FILTER_BACK, Version(3, 4, 8))
    check_request(Ioctl.ADD_PACKET_FILTER_BACK, Version(3, 6, 1))
