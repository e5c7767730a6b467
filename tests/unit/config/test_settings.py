from dataclasses import FrozenInstanceError

import pytest

from wiresock_py.config import Settings


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().backend = "x"  # type: ignore[misc]
