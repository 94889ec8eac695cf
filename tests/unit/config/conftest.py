import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from notifier.config import ConfigError, Settings, load

MINIMAL = '[sources.acme]\ntoken = "t0ken"\n'


class Load(Protocol):
    def __call__(
        self, text: str = MINIMAL, environ: Mapping[str, str] | None = None, secrets_dir: Path | None = None
    ) -> Settings: ...


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a configuration file with this text, and nothing of the machine's own environment."""

    def load_text(
        text: str = MINIMAL, environ: Mapping[str, str] | None = None, secrets_dir: Path | None = None
    ) -> Settings:
        file = tmp_path / "config.toml"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        return load(file, environ=environ or {}, secrets_dir=secrets_dir, cwd=tmp_path)

    return load_text


@pytest.fixture
def problems_of(load_text: Load) -> Callable[..., list[str]]:
    """Load a configuration that is wrong, and return its problems as lines."""

    def problems_of(
        text: str = MINIMAL, environ: Mapping[str, str] | None = None, secrets_dir: Path | None = None
    ) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, environ, secrets_dir)
        assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
        return str(caught.value).splitlines()

    return problems_of


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "credentials"
    folder.mkdir()
    return folder


@pytest.fixture
def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be no root to the program, which then looks into the working directory; root's files count as trusted."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
