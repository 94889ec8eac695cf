"""`notifier install-service`: what it writes where, what it leaves alone, and what it refuses."""

import os
import stat
from pathlib import Path

import pytest

from notifier.config import ConfigError, load
from notifier.service.install import initial_configuration
from notifier.service.preflight import access_problems, installed_program, ownership_problems, required_files
from notifier.service.unit import ServicePaths
from tests.support.command_line import CommandOutput, call

PROGRAM = "/opt/nowhere/bin/notifier"


class Image:
    """The files of another machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(self, *arguments: str) -> CommandOutput:
        return call("install-service", "--root", str(self.root), "--program", PROGRAM, *arguments)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def mode(self, name: str) -> int:
        return stat.S_IMODE(self.path(name).stat().st_mode)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def test_it_makes_what_is_missing_and_says_what_is_left_to_do(image: Image) -> None:
    said = image.install()
    assert said.code == 0
    assert image.mode("/etc/notifier") == 0o755
    assert image.mode("/etc/notifier/credentials") == 0o700
    assert image.mode("/etc/notifier/config.toml") == 0o644
    assert image.mode("/etc/systemd/system/notifier.service") == 0o644
    assert f"ExecStart={PROGRAM} run\n" in image.path("/etc/systemd/system/notifier.service").read_text()
    assert said.lines[-5:] == [
        "  sudoedit /etc/notifier/config.toml",
        "  sudo install -m 0600 /dev/stdin /etc/notifier/credentials/NOTIFIER_SOURCES__ACME__TOKEN",
        "  sudo install -m 0600 /dev/stdin /etc/notifier/credentials/NOTIFIER_DESTINATIONS__SAFETY_CHANNEL__URL",
        f"  sudo {PROGRAM} check --online",
        "  sudo systemctl enable --now notifier",
    ]


def test_it_makes_them_whatever_the_umask(image: Image) -> None:
    before = os.umask(0o077)
    try:
        image.install()
    finally:
        os.umask(before)
    assert image.mode("/etc/notifier") == 0o755
    assert image.mode("/etc/notifier/config.toml") == 0o644


def test_again_it_changes_nothing(image: Image) -> None:
    image.install()
    files = {path: path.stat().st_mtime_ns for path in image.root.rglob("*")}
    said = image.install()
    assert {path: path.stat().st_mtime_ns for path in image.root.rglob("*")} == files
    assert [line.rpartition(": ")[2] for line in said.lines[:4]] == [
        "exists",
        "exists",
        "exists, and was not changed",
        "is up to date",
    ]


def test_after_an_upgrade_it_names_the_restart_also_if_the_unit_is_the_same(image: Image) -> None:
    image.install()
    assert image.install().lines[-2:] == ["  sudo systemctl enable notifier", "  sudo systemctl restart notifier"]
    for instance in ("acme", "beta"):
        said = image.install("--instance", instance)
        assert said.lines[-1] == f"  sudo systemctl enable --now notifier@{instance}"


def test_a_configuration_and_secrets_that_are_there_stay_and_an_old_unit_goes(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/config.toml").write_text("# mine\n")
    image.path("/etc/notifier/credentials/NOTIFIER_SOURCES__ACME__TOKEN").write_text("secret")
    old = image.path("/etc/systemd/system/notifier.service")
    old.write_text(old.read_text().replace("WatchdogSec=60s", "WatchdogSec=1h"))
    said = image.install()
    assert image.path("/etc/notifier/config.toml").read_text() == "# mine\n"
    assert image.path("/etc/notifier/credentials/NOTIFIER_SOURCES__ACME__TOKEN").read_text() == "secret"
    assert "WatchdogSec=60s" in old.read_text()
    assert f"{old}: replaced by this version's" in said.lines
    assert said.lines[-1] == "  sudo systemctl restart notifier"


def test_a_unit_of_somebody_else_is_not_replaced(image: Image) -> None:
    image.install()
    theirs = image.path("/etc/systemd/system/notifier.service")
    theirs.write_text("[Service]\nExecStart=/bin/true\n")
    said = image.install()
    assert said.code == 1
    assert "was not written by this command: move it away" in said.err
    assert theirs.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_secrets_that_others_could_read_are_closed_up(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/credentials").chmod(0o755)
    said = image.install()
    assert f"{image.path('/etc/notifier/credentials')}: permissions removed: only root can read it now" in said.lines
    assert image.mode("/etc/notifier/credentials") == 0o700


def test_a_configuration_that_the_service_could_not_read_is_told_with_the_remedy(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/config.toml").chmod(0o600)
    said = image.install()
    assert "exists, but the service could not read it" in said.out
    assert "  sudo chmod 0644 /etc/notifier/config.toml" in said.lines
    assert image.mode("/etc/notifier/config.toml") == 0o600


@pytest.mark.parametrize(
    ("instance", "folders"), [((), "/etc/notifier"), (("--instance", "acme"), "/etc/notifier /etc/notifier/acme")]
)
def test_a_folder_that_the_service_could_not_enter_is_told_with_the_remedy(
    image: Image, instance: tuple[str, ...], folders: str
) -> None:
    folder = image.path(folders.rsplit(maxsplit=1)[-1])
    folder.mkdir(parents=True)
    image.path("/etc/notifier").chmod(0o750)
    for result in ("written; complete it", "exists, and was not changed"):
        said = image.install(*instance)
        assert said.lines[0] == f"{folder}: exists, but the service could not enter it"
        assert said.lines[2] == f"{folder}/config.toml: {result}"
        assert f"  sudo chmod o+x {folders}" in said.lines
    image.path("/etc/notifier").chmod(0o755)
    assert "chmod" not in image.install(*instance).out


def test_one_of_several_has_a_folder_a_state_and_a_socket_of_its_own(image: Image) -> None:
    said = image.install("--instance", "acme")
    assert "%i" in image.path("/etc/systemd/system/notifier@.service").read_text()
    text = image.path("/etc/notifier/acme/config.toml").read_text()
    assert 'path = "/var/lib/notifier-acme/notifier.db"' in text
    assert 'listen = "unix:/run/notifier-acme/notifier.sock"' in text
    assert said.lines[-1] == "  sudo systemctl enable --now notifier@acme"
    assert said.lines[-2].endswith("check --online --config /etc/notifier/acme/config.toml")


@pytest.mark.parametrize("name", ["Acme", "a_b", "-a", "a/b", "../x", "", "credentials", "%i", 23 * "a"])
def test_a_name_that_would_not_do_is_refused(name: str, image: Image) -> None:
    said = image.install("--instance", name)
    assert said.code == 2
    assert not list(image.root.iterdir())


@pytest.mark.parametrize("instance", [None, "acme"])
def test_the_first_configuration_lacks_the_secrets_and_nothing_else(instance: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(initial_configuration(ServicePaths(instance)))
    with pytest.raises(ConfigError) as caught:
        load(file, environ={})
    assert [problem.key for problem in caught.value.problems] == [
        "sources.acme.token",
        "destinations.safety-channel.url",
    ]
    secrets = {
        "NOTIFIER_SOURCES__ACME__TOKEN": "t0ken",
        "NOTIFIER_DESTINATIONS__SAFETY_CHANNEL__URL": "https://hooks.slack.com/services/T/B/x",
    }
    assert load(file, environ=secrets).warnings() == ()


def test_printed_it_is_the_unit_and_nothing_is_written(image: Image) -> None:
    said = image.install("--print")
    assert said.code == 0
    assert said.out.startswith("# Completion Notifier as a systemd service.\n")
    assert said.out.endswith("WantedBy=multi-user.target\n")
    assert not list(image.root.iterdir())


def test_another_machines_service_cannot_be_started(image: Image) -> None:
    said = image.install("--now")
    assert said.code == 2
    assert "--now cannot be combined with --root" in said.err


def test_what_stands_in_the_way_is_one_sentence(image: Image) -> None:
    image.path("/etc").mkdir()
    image.path("/etc/notifier").write_text("a file where the folder should be")
    said = image.install()
    assert said.code == 1
    assert len(said.err.splitlines()) == 1


def test_the_present_program_is_found_under_whatever_name_it_was_called(tmp_path: Path) -> None:
    program = tmp_path / "venv" / "notifier"
    program.parent.mkdir()
    program.write_text("")
    link = tmp_path / "notifier"
    link.symlink_to(program)
    assert installed_program(str(link)) == program
    by_module = installed_program("/somewhere/notifier/__main__.py")
    assert by_module is not None
    assert by_module.name == "notifier"
    assert required_files(by_module)[0] == by_module


def test_a_program_that_everybody_can_run_is_in_nobodys_way() -> None:
    assert access_problems([Path("/bin/sh").resolve()]) == []


def test_a_program_that_the_services_user_cannot_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.service.preflight._PRIVATE_FOLDERS", ())
    closed = tmp_path / "bin"
    closed.mkdir(mode=0o700)
    program = closed / "notifier"
    program.write_text("")
    (told,) = access_problems([program, program])
    # The tests' folder may be closed to others itself.
    assert told in {
        f"the service runs as its own user, who cannot reach {folder} (mode {folder.stat().st_mode & 0o7777:04o})"
        for folder in program.parents
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/opt/nowhere/notifier", "/opt/nowhere cannot be read: No such file or directory"),
        ("/opt/.cache/uv/notifier", "/opt/.cache/uv/notifier is in a cache"),
        ("/var/tmp/venv/bin/notifier", "/var/tmp/venv/bin/notifier is in a folder for temporary files"),  # noqa: S108
    ],
)
def test_a_program_that_is_not_there_or_not_for_long_is_told(path: str, told: str) -> None:
    assert access_problems([Path(path)])[0].startswith(told)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with a package beside it."""
    package = tmp_path / "venv" / "lib" / "notifier"
    package.mkdir(parents=True)
    (package / "log.py").touch(0o644)
    program = tmp_path / "venv" / "bin" / "notifier"
    program.parent.mkdir()
    program.touch(0o755)
    return program


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_program_that_only_root_can_change_is_fine(program: Path) -> None:
    assert ownership_problems([program], program.parents[1]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("place", ["bin/notifier", "bin", ".", "lib/notifier/log.py", "lib/notifier"])
@pytest.mark.parametrize(("owner", "mode"), [(12345, 0o755), (0, 0o757), (0, 0o775)])
def test_a_program_that_others_could_change_is_told(program: Path, place: str, owner: int, mode: int) -> None:
    found = program.parents[1] / place
    # A group with members.
    os.chown(found, owner, 12345 if mode == 0o775 else 0)
    found.chmod(mode)
    (told,) = ownership_problems([program], program.parents[1] / "lib" / "notifier")
    by = "belongs to user 12345" if owner else f"can be written by users other than root (mode {mode:04o})"
    assert told.startswith(f"{found} {by}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_service_is_not_installed_for_a_program_that_others_could_change(image: Image, program: Path) -> None:
    os.chown(program, 12345, 12345)
    # The tests' own folder is closed to others, which is reported first.
    said = call("install-service", "--root", str(image.root), "--print", "--program", str(program))
    assert f"Warning: {program} belongs to user 12345, who could change what the service runs" in said.err
    assert "Warning: install it as root (sudo) into /opt/notifier" in said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["/etc/notifier", "/etc/notifier/credentials", "/etc/notifier/config.toml"])
def test_a_folder_or_configuration_that_others_could_write_is_refused(image: Image, name: str) -> None:
    image.install()
    before = image.mode(name)
    image.path(name).chmod(before | 0o022)
    said = image.install()
    assert said.code == 1
    assert f"{image.path(name)} can be written by users other than root: chown root:root" in said.err
    image.path(name).chmod(before)
    os.chown(image.path(name), 12345, 12345)
    assert image.install().code == 1
