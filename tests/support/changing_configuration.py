"""A configuration that a test changes while the daemon runs."""

from dataclasses import dataclass, field
from typing import Any

from notifier.config import Settings
from notifier.config.errors import ConfigError, Problem


@dataclass
class Written:
    """A configuration file whose settings a test can change."""

    settings: Settings
    wrong: bool = False
    followed: list[Settings] = field(default_factory=list)

    def read(self) -> Settings:
        if self.wrong:
            raise ConfigError([Problem("sources.acme-1.token", "is missing")])
        return self.settings

    def change(self, **tables: Any) -> None:
        """Replace these tables (`sources`, `destinations`, ...); values are as in TOML."""
        values = {
            "store": {"path": str(self.settings.store.path)},
            "http": {"listen": ""},
            "alerts": dumped(self.settings)["alerts"],
            "sources": dumped(self.settings)["sources"],
            "destinations": dumped(self.settings)["destinations"],
        }
        self.settings = Settings.model_validate(values | tables)


def dumped(settings: Settings) -> dict[str, Any]:
    """Return the settings that were set explicitly, with secrets as plain text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        return value.get_secret_value() if hasattr(value, "get_secret_value") else value

    found: dict[str, Any] = plain(settings.model_dump(exclude_unset=True))
    return {"alerts": {}, **found}
