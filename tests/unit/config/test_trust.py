import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from notifier.config import ConfigError, configured_names, load, trust
from notifier.config.trust import why_untrusted
from tests.unit.config.conftest import Load

HTTP = '[sources.acme]\ntoken = "t0ken-of-acme"\n[destinations.hr]\ntype = "http"\nurl = "https://hr.example.com/x"\n'
SLACK = '[destinations.safety]\ntype = "slack"\nurl = "https://hooks.slack.com/services/T/B/x"\n'

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(HTTP)
    file.chmod(0o600)
    return file


def problem(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, environ={}, cwd=file.parent)
    return str(caught.value)


@pytest.mark.parametrize(("mode", "is_trusted"), [(0o600, True), (0o644, True), (0o662, False), (0o620, False)])
def test_configuration_writable_by_others_is_refused(file: Path, mode: int, is_trusted: bool) -> None:
    # A group that may have other members.
    if os.geteuid() == 0:
        os.chown(file, 0, 1)
    file.chmod(mode)
    if is_trusted:
        load(file, environ={}, cwd=file.parent)
    else:
        assert f"can be written by other users (mode {mode:04o})" in problem(file)


def test_configuration_writable_by_the_owners_own_group_is_trusted(file: Path) -> None:
    file.chmod(0o660)
    owner = pwd.getpwuid(os.geteuid())
    if owner.pw_gid != file.stat().st_gid:
        pytest.skip("this user's files belong to another group")
    assert why_untrusted(file) is None


def test_configuration_in_a_world_writable_folder_is_refused_unless_sticky(file: Path) -> None:
    file.parent.chmod(0o777)
    assert "is in a folder that other users can write to (mode 0777)" in problem(file)
    file.parent.chmod(0o1777)
    load(file, environ={}, cwd=file.parent)


@only_root
def test_configuration_or_folder_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, 12345, 12345)
    assert "belongs to user 12345, not to you or root" in problem(file)
    os.chown(file, 0, 0)
    os.chown(file.parent, 12345, 12345)
    assert "is in a folder of user 12345, who could replace it" in problem(file)


@only_root
def test_link_into_a_folder_of_another_user_is_refused(file: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.toml").write_text(HTTP)
    os.chown(theirs, 12345, 12345)
    file.unlink()
    file.symlink_to(theirs / "config.toml")
    assert "is in a folder of user 12345" in problem(file)


@pytest.mark.parametrize("place", ["NOTIFIER_LOG__LEVEL", "."])
def test_credentials_writable_by_others_are_refused(file: Path, place: str) -> None:
    folder = file.parent / "credentials"
    folder.mkdir()
    (folder / "NOTIFIER_LOG__LEVEL").write_text("debug")
    (folder / place).chmod(0o777)
    with pytest.raises(ConfigError, match=r"can be written by other users \(mode 0777\)"):
        load(file, environ={}, secrets_dir=folder, cwd=file.parent)


class MountedSecret:
    """A secret as Kubernetes mounts it: a sticky folder, and links through `..data` into a folder of one version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.write("NOTIFIER_LOG__LEVEL", "debug")
        folder.chmod(0o1777)

    def write(self, name: str, text: str) -> None:
        version = self.folder / f"..2026_11_30_{len(list(self.folder.iterdir()))}"
        version.mkdir(mode=0o755)
        (version / name).write_text(text)
        (version / name).chmod(0o440)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.replace(self.folder / "..data")
        if not (self.folder / name).is_symlink():
            (self.folder / name).symlink_to(f"..data/{name}")

    def level(self, file: Path) -> str:
        return load(file, environ={}, secrets_dir=self.folder, cwd=file.parent).log.level


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    return MountedSecret(tmp_path / "run" / "secrets" / "notifier")


def test_secret_mounted_by_kubernetes_and_its_next_version_are_read(file: Path, secret: MountedSecret) -> None:
    assert secret.level(file) == "debug"
    secret.write("NOTIFIER_LOG__LEVEL", "warning")
    assert secret.level(file) == "warning"


def test_configuration_and_secrets_in_one_projected_volume_are_read(tmp_path: Path) -> None:
    """As `notifier help containers` advises: one volume with the configuration, and the secrets in a folder of it."""
    mount = tmp_path / "notifier"
    version = mount / "..2026_11_30"
    (version / "credentials").mkdir(parents=True)
    (version / "config.toml").write_text(HTTP)
    (version / "credentials" / "NOTIFIER_LOG__LEVEL").write_text("debug")
    (mount / "..data").symlink_to(version.name)
    for name in ("config.toml", "credentials"):
        (mount / name).symlink_to(f"..data/{name}")
    mount.chmod(0o1777)
    for folder in (version, version / "credentials"):
        folder.chmod(0o2755)
    settings = load(mount / "config.toml", environ={}, secrets_dir=mount / "credentials", cwd=tmp_path)
    assert settings.log.level == "debug"


@only_root
@pytest.mark.parametrize("is_read_only", [True, False])
def test_root_reads_credentials_of_a_service_only_from_a_read_only_mount(
    file: Path, monkeypatch: pytest.MonkeyPatch, *, is_read_only: bool
) -> None:
    """As on systemd 252, where the credentials belong to the service's user, in a file system mounted read-only."""
    folder = file.parent / "notifier.service"
    folder.mkdir()
    level, link = folder / "NOTIFIER_LOG__LEVEL", folder / "notifier_NOTIFIER_LOG__FORMAT"
    level.write_text("debug")
    for path in (folder, level):
        os.chown(path, 12345, 12345)
        path.chmod(0o500)
    monkeypatch.setattr(trust, "_PASSED_CREDENTIALS", file.parent)
    flags = SimpleNamespace(f_flag=os.ST_RDONLY if is_read_only else 0)
    monkeypatch.setattr(os, "statvfs", lambda _: flags)
    if not is_read_only:
        with pytest.raises(ConfigError, match="belongs to user 12345"):
            load(file, environ={}, secrets_dir=folder, cwd=file.parent)
        return
    assert load(file, environ={}, secrets_dir=folder, cwd=file.parent).log.level == "debug"
    assert why_untrusted(level) is None
    theirs = file.parent / "theirs"
    theirs.write_text("json")
    os.chown(theirs, 12345, 12345)
    link.symlink_to(theirs)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        load(file, environ={}, secrets_dir=folder, cwd=file.parent)


def test_secrets_folder_or_parent_writable_by_others_is_refused_unless_sticky(
    file: Path, secret: MountedSecret
) -> None:
    secret.folder.chmod(0o777)
    with pytest.raises(ConfigError, match=r"can be written by other users \(mode 0777\)"):
        secret.level(file)
    secret.folder.chmod(0o1777)
    secret.folder.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=r"is in a folder that other users can write to \(mode 0777\)"):
        secret.level(file)


@only_root
def test_entry_of_another_user_in_a_sticky_secrets_folder_is_refused(
    file: Path, secret: MountedSecret, tmp_path: Path
) -> None:
    """Another user cannot write a file of root's, but could choose which of root's files is read as a key."""
    roots = tmp_path / "roots"
    roots.write_text("json")
    planted = secret.folder / "NOTIFIER_LOG__FORMAT"
    planted.symlink_to(roots)
    assert secret.level(file) == "debug"
    os.chown(planted, 12345, 12345, follow_symlinks=False)
    with pytest.raises(ConfigError, match="is a link of user 12345 in a folder that every user can write to"):
        secret.level(file)
    planted.unlink()
    planted.hardlink_to(roots)
    with pytest.raises(ConfigError, match="has a second name"):
        secret.level(file)
    planted.unlink()
    planted.write_text("json")
    os.chown(planted, 12345, 12345)
    with pytest.raises(ConfigError, match="is a file of user 12345"):
        secret.level(file)


@only_root
def test_sticky_secrets_folder_of_another_user_is_refused(file: Path, secret: MountedSecret) -> None:
    os.chown(secret.folder, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345, not to you or root"):
        secret.level(file)


def test_load_of_a_refused_configuration_reads_no_credentials(file: Path) -> None:
    folder = file.parent / "credentials"
    folder.mkdir()
    (folder / "NOTIFIER_NONSENSE").write_text("x")
    file.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        load(file, environ={}, secrets_dir=folder, cwd=file.parent)
    assert [one.key for one in caught.value.problems] == [str(file)]


@pytest.mark.parametrize(
    ("name", "key"), [("ca.pem", "ca_file"), ("cert.pem", "client_cert_file"), ("line.txt", "templates")]
)
def test_certificates_and_templates_writable_by_others_are_refused(
    load_text: Load, tmp_path: Path, name: str, key: str
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / name).touch()
    (folder / name).chmod(0o666)
    text = HTTP + f'{key} = "{folder / name}"' if key != "templates" else HTTP + SLACK + f'{key} = "{folder}"'
    with pytest.raises(ConfigError, match="can be written by other users"):
        load_text(text)


@pytest.mark.parametrize("key", ["ca_file", "client_cert_file", "client_key_file"])
def test_certificate_file_that_is_a_pipe_is_refused(load_text: Load, tmp_path: Path, key: str) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError, match=f"{key}: names a file that is refused: it is a named pipe"):
        load_text(HTTP + f'{key} = "{tmp_path / "pipe"}"')


def test_credential_that_is_a_pipe_is_refused(file: Path) -> None:
    folder = file.parent / "credentials"
    folder.mkdir()
    os.mkfifo(folder / "NOTIFIER_LOG__LEVEL", 0o600)
    with pytest.raises(ConfigError, match="NOTIFIER_LOG__LEVEL: is a named pipe, not a regular file"):
        load(file, environ={}, secrets_dir=folder, cwd=file.parent)


def test_configured_names_of_a_refused_file_raises_config_error(file: Path) -> None:
    assert configured_names(file, environ={}, cwd=file.parent).destinations == ("hr",)
    file.chmod(0o666)
    with pytest.raises(ConfigError):
        configured_names(file, environ={}, cwd=file.parent)


@only_root
def test_root_refuses_a_configuration_from_the_working_directory(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"root does not use {file} unless it is named"):
        load(environ={}, cwd=file.parent)


@pytest.mark.parametrize(
    ("text", "warned"), [(HTTP, True), (HTTP.replace("t0ken-of-acme", "..."), False), (SLACK + HTTP, True)]
)
def test_configuration_with_world_readable_secrets_gives_a_warning(file: Path, text: str, warned: bool) -> None:
    file.write_text(text)

    def warnings() -> list[str]:
        return [one.message for one in load(file, environ={}, cwd=file.parent).warnings() if one.key == str(file)]

    assert warnings() == []
    file.chmod(0o644)
    assert warnings() == ([f"contains secrets, and every user can read it: chmod o-r {file}"] if warned else [])


def test_world_readable_configuration_without_secrets_gives_no_warning(file: Path) -> None:
    file.write_text(HTTP.replace('token = "t0ken-of-acme"\n', ""))
    file.chmod(0o644)
    environ = {"NOTIFIER_SOURCES__ACME__TOKEN": "t0ken-of-acme"}
    assert str(file) not in [one.key for one in load(file, environ=environ, cwd=file.parent).warnings()]


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "warned"), [(0o755, 0o644, True), (0o700, 0o644, False), (0o755, 0o600, False)]
)
def test_world_readable_credentials_beside_the_configuration_give_a_warning(
    file: Path, monkeypatch: pytest.MonkeyPatch, folder_mode: int, file_mode: int, warned: bool
) -> None:
    monkeypatch.setattr("notifier.config.paths.SYSTEM_FILE", file)
    file.write_text("[sources.acme]\n")
    folder = file.parent / "credentials"
    folder.mkdir()
    folder.chmod(folder_mode)
    secret = folder / "NOTIFIER_SOURCES__ACME__TOKEN"
    secret.write_text("t0ken-of-acme\n")
    secret.chmod(file_mode)

    def warned_files(**places: Path) -> list[str]:
        found = load(file, environ={}, cwd=file.parent, **places).warnings()
        return [one.key for one in found if "every user can read it" in one.message]

    assert warned_files() == [str(secret)] * warned
    assert warned_files(secrets_dir=folder) == [], (
        "a folder that another program has made has the modes of that program"
    )
