"""settings.yaml: what is not of one tunnel."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """The settings of a run; every field has a default, so an absent file is a valid one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    backend: str = "auto"
    log_level: Literal["error", "warning", "info", "debug"] = "info"
    kill_switch: Literal["app", "all", "off"] = "app"
    dns: Literal["tunnel", "system"] = "tunnel"
    app_groups: dict[str, tuple[str, ...]] = {}


def load_settings(path: Path | None = None) -> Settings:
    """Read *path*, or the default place if None, where an absent file means the defaults. Raises ConfigError."""
    raise NotImplementedError
