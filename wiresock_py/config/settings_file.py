"""settings.yaml: where it is looked for."""

import os
from pathlib import Path

from platformdirs import site_config_path, user_config_path

from wiresock_py.config.files import read_text
from wiresock_py.config.settings import Settings

FILE_NAME = "settings.yaml"


def settings_paths() -> tuple[Path, ...]:
    """Where settings.yaml is looked for: first the user's own, then the machine's."""
    folders = (user_config_path("wiresock-py", appauthor=False), site_config_path("wiresock-py", appauthor=False))
    return tuple(folder / FILE_NAME for folder in folders)


def load_settings(path: Path | None = None) -> Settings:
    """Read *path*; None: the first of :func:`settings_paths` that is there, the defaults where none is.

    Raises ConfigError with line and column.
    """
    if path is None:
        # os.path says False where Path.exists raises: in a home that is not ours to enter
        path = next((candidate for candidate in settings_paths() if os.path.exists(candidate)), None)  # noqa: PTH110
    if path is None:
        return Settings()
    # imported here: most have no such file, and need no YAML
    from wiresock_py.config.settings_parser import parse_settings

    return parse_settings(read_text(path), str(path))
