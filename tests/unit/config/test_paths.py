import errno
import os
from pathlib import Path

import pytest

from notifier.config import ConfigError, find_file, load
from notifier.config.paths import SYSTEM_FILE, usual_files


def configuration(token: str) -> str:
    return f'[sources.acme]\ntoken = "{token}"\n'


def loaded_token(path: Path | None, environ: dict[str, str], cwd: Path) -> str:
    return load(path, environ=environ, cwd=cwd).sources["acme"].token.get_secret_value()


@pytest.mark.usefixtures("not_root")
def test_named_file_precedes_the_variable_and_the_working_directory(tmp_path: Path) -> None:
    for name in ("named", "variable", "config"):
        (tmp_path / f"{name}.toml").write_text(configuration(name))
    environ = {"NOTIFIER_CONFIG": "variable.toml"}

    assert loaded_token(Path("named.toml"), environ, tmp_path) == "named"
    assert loaded_token(None, environ, tmp_path) == "variable"
    assert loaded_token(None, {"NOTIFIER_CONFIG": ""}, tmp_path) == "config"


@pytest.mark.usefixtures("not_root")
def test_usual_files_end_with_the_system_file(tmp_path: Path) -> None:
    assert usual_files(tmp_path) == (tmp_path / "config.toml", Path("/etc/notifier/config.toml"))


@pytest.mark.usefixtures("not_root")
@pytest.mark.skipif(SYSTEM_FILE.exists(), reason="this machine has a configuration of its own")
def test_load_without_a_file_and_a_source_names_the_ways_to_configure(tmp_path: Path) -> None:
    assert find_file(None, environ={}, cwd=tmp_path) is None
    with pytest.raises(ConfigError) as caught:
        load(environ={"NOTIFIER_NONSENSE": "1", "NOTIFIER_LOG__LEVEL": "debug"}, cwd=tmp_path)
    nonsense, nothing = str(caught.value).splitlines()
    assert nonsense.startswith("NOTIFIER_NONSENSE: unknown key")
    assert nothing.startswith(
        f"configuration: no configuration was found: looked for {tmp_path}/config.toml and {SYSTEM_FILE}; "
    )
    for way in ("`notifier init` writes one", "--config", "$NOTIFIER_CONFIG", "NOTIFIER_SOURCES__NAME__TOKEN"):
        assert way in nothing


def test_missing_named_file_is_an_error_although_others_exist(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(configuration("x"))
    for path, environ in ((Path("missing.toml"), {}), (None, {"NOTIFIER_CONFIG": "missing.toml"})):
        with pytest.raises(ConfigError) as caught:
            load(path, environ=environ, cwd=tmp_path)
        assert str(caught.value) == f"{tmp_path}/missing.toml: cannot be read: No such file or directory"


@pytest.mark.usefixtures("not_root")
def test_folder_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be read: Is a directory"):
        load(environ={}, cwd=tmp_path)


@pytest.mark.usefixtures("not_root")
def test_unreadable_file_in_the_working_directory_is_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to("config.toml")
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        load(environ={}, cwd=tmp_path)


@pytest.mark.usefixtures("not_root")
def test_inaccessible_working_directory_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `sudo -u notifier notifier status` in /root."""
    system_file = tmp_path / "etc" / "config.toml"
    system_file.parent.mkdir()
    system_file.write_text(configuration("of-the-service"))
    (tmp_path / "config.toml").write_text(configuration("of-root"))
    monkeypatch.setattr("notifier.config.paths.SYSTEM_FILE", system_file)
    assert loaded_token(None, {}, tmp_path) == "of-root"
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    assert loaded_token(None, {}, tmp_path) == "of-the-service"


@pytest.mark.usefixtures("not_root")
def test_unreadable_file_is_reported_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "config.toml").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        ConfigError, match=r"Permission denied; let the user that runs this read it, or run this as root"
    ):
        load(environ={}, cwd=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[sources.acme]\ntoken = \n", "line 2, column 9: is not valid TOML: invalid value"),
        (b"[a]\nx = 1\nx = 2\n", "line 3, column 6: is not valid TOML: cannot overwrite a value"),
        (b'token = "s3cr3t', "at its end: is not valid TOML: "),
        (b"[sources.acme]\n\n# caf\xe9\n", "line 3: is not UTF-8 text; save the file as UTF-8"),
        (b"a = " + b"9" * 5000, "cannot be read as TOML: "),
        (b"a = " + b"[" * 100_000, "cannot be read as TOML: "),
        (b"\x00", "line 1, column 1: is not valid TOML: "),
    ],
)
def test_invalid_toml_is_reported_with_its_place_but_no_values(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={}, cwd=tmp_path)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.usefixtures("not_root")
def test_load_accepts_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf" + configuration("x").replace("\n", "\r\n").encode())
    assert loaded_token(None, {}, tmp_path) == "x"


@pytest.mark.usefixtures("not_root")
def test_config_error_has_no_cause_in_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[sources.acme]\ntoken = "two words"')
    with pytest.raises(ConfigError) as caught:
        load(environ={}, cwd=tmp_path)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
