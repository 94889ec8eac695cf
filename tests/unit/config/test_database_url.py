"""The URL of the database, and the name of the schema in it."""

from pathlib import Path

import pytest

from notifier.config import ConfigError, Settings, load
from notifier.config import database_url as module

SOURCE = '[sources.acme]\ntoken = "abcdefghijkl"\n'


def read(tmp_path: Path, store: str) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(f"[store]\n{store}\n{SOURCE}")
    file.chmod(0o600)
    return load(file, environ={"HOME": str(tmp_path)}, cwd=tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://notifier@db.example.com/notifier?sslmode=verify-full",
        "postgres://u:p@one,two:5433/notifier?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql:///notifier?host=/run/postgresql",
        "postgresql://u@[::1]:5432/notifier",
        "postgresql://?service=notifier",
    ],
)
def test_database_url_is_kept_as_written(tmp_path: Path, url: str) -> None:
    settings = read(tmp_path, f'url = "{url}"\nname = "shard-07"')
    assert (settings.store.url.get_secret_value(), settings.store.name) == (url, "shard-07")
    assert not [warning for warning in settings.warnings() if warning.key.startswith("store")]


@pytest.mark.parametrize(
    ("store", "key", "expected"),
    [
        ('url = "mysql://u@h/d"', "store.url", "must begin with"),
        ('url = "postgres:/h/d"', "store.url", 'such as "postgresql://'),
        ('url = "postgresql://u@h"', "store.url", "must name a database"),
        ('url = "postgresql://u@h/d?sslmod=require"', "store.url", "did you mean `sslmode`"),
        ('url = "postgresql://u@h/d e"', "store.url", "visible ASCII"),
        ('url = "postgresql://[::1/d"', "store.url", "not a valid URL"),
        ('url = "postgresql://u@h/d"\npath = "notifier.db"', "store.url", "cannot stand beside `path`"),
        ('url = "postgresql://u@h/d"\nname = "Acme Corp"', "store.name", "lower-case letters"),
        ('url = "postgresql://u@h/d"\nname = "public"', "store.name", "not a name of PostgreSQL"),
        ('url = "postgresql://u@h/d"\nname = "pg-acme"', "store.name", "not a name of PostgreSQL"),
        (f'url = "postgresql://u@h/d"\nname = "{"a" * 49}"', "store.name", "48 characters"),
        ('name = "acme"', "store.name", "needs `url`"),
        ("url = 5", "store.url", "string"),
    ],
)
def test_wrong_store_value_is_reported_but_not_shown(tmp_path: Path, store: str, key: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, store)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert expected in problem.message or expected == "string"
    assert "u@h" not in str(problem)


def test_missing_postgres_library_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'completion-notifier\[postgres\]'"):
        read(tmp_path, 'url = "postgresql://u@h/d"')


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("postgresql://u@db.example.com/d", True),
        ("postgresql://u@localhost,db.example.com/d?sslmode=require", True),
        ("postgresql://u@localhost/d", False),
        ("postgresql://u@10.0.0.1/d?sslmode=verify-full", False),
    ],
)
def test_unverified_database_server_gives_a_warning(tmp_path: Path, url: str, *, is_warned: bool) -> None:
    keys = [warning.key for warning in read(tmp_path, f'url = "{url}"').warnings()]
    assert ("store.url" in keys) is is_warned


def test_database_password_is_a_secret(tmp_path: Path) -> None:
    settings = read(tmp_path, 'url = "postgresql://u:correct-horse@localhost/d"')
    assert "correct-horse" in settings.secrets()
    assert "correct-horse" not in repr(settings)
