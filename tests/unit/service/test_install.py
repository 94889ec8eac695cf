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
    """The root folder of another machine, into which the service is installed."""

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


def test_install_creates_missing_files_and_lists_the_remaining_steps(image: Image) -> None:
    output = image.install()
    assert output.code == 0
    assert image.mode("/etc/notifier") == 0o755
    assert image.mode("/etc/notifier/credentials") == 0o700
    assert image.mode("/etc/notifier/config.toml") == 0o644
    assert image.mode("/etc/systemd/system/notifier.service") == 0o644
    assert f"ExecStart={PROGRAM} run\n" in image.path("/etc/systemd/system/notifier.service").read_text()
    assert output.lines[-5:] == [
        "  sudoedit /etc/notifier/config.toml",
        "  sudo install -m 0600 /dev/stdin /etc/notifier/credentials/NOTIFIER_SOURCES__ACME__TOKEN",
        "  sudo install -m 0600 /dev/stdin /etc/notifier/credentials/NOTIFIER_DESTINATIONS__SAFETY_CHANNEL__URL",
        f"  sudo {PROGRAM} check --online",
        "  sudo systemctl enable --now notifier",
    ]


def test_install_with_a_strict_umask_sets_the_usual_modes(image: Image) -> None:
    before = os.umask(0o077)
    try:
        image.install()
    finally:
        os.umask(before)
    assert image.mode("/etc/notifier") == 0o755
    assert image.mode("/etc/notifier/config.toml") == 0o644


def test_install_again_changes_nothing(image: Image) -> None:
    image.install()
    files = {path: path.stat().st_mtime_ns for path in image.root.rglob("*")}
    output = image.install()
    assert {path: path.stat().st_mtime_ns for path in image.root.rglob("*")} == files
    assert [line.rpartition(": ")[2] for line in output.lines[:4]] == [
        "exists",
        "exists",
        "exists, and was not changed",
        "is up to date",
    ]


def test_install_again_lists_the_restart_even_if_the_unit_is_unchanged(image: Image) -> None:
    image.install()
    assert image.install().lines[-2:] == ["  sudo systemctl enable notifier", "  sudo systemctl restart notifier"]
    for instance in ("acme", "beta"):
        output = image.install("--instance", instance)
        assert output.lines[-1] == f"  sudo systemctl enable --now notifier@{instance}"


def test_install_keeps_configuration_and_secrets_and_replaces_an_old_unit(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/config.toml").write_text("# mine\n")
    image.path("/etc/notifier/credentials/NOTIFIER_SOURCES__ACME__TOKEN").write_text("secret")
    old = image.path("/etc/systemd/system/notifier.service")
    old.write_text(old.read_text().replace("WatchdogSec=60s", "WatchdogSec=1h"))
    output = image.install()
    assert image.path("/etc/notifier/config.toml").read_text() == "# mine\n"
    assert image.path("/etc/notifier/credentials/NOTIFIER_SOURCES__ACME__TOKEN").read_text() == "secret"
    assert "WatchdogSec=60s" in old.read_text()
    assert f"{old}: replaced by this version's" in output.lines
    assert output.lines[-1] == "  sudo systemctl restart notifier"


def test_install_refuses_to_replace_a_unit_that_it_did_not_write(image: Image) -> None:
    image.install()
    theirs = image.path("/etc/systemd/system/notifier.service")
    theirs.write_text("[Service]\nExecStart=/bin/true\n")
    output = image.install()
    assert output.code == 1
    assert "was not written by this command: move it away" in output.err
    assert theirs.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_install_makes_the_credentials_folder_accessible_only_to_root(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/credentials").chmod(0o755)
    output = image.install()
    assert f"{image.path('/etc/notifier/credentials')}: permissions removed: only root can read it now" in output.lines
    assert image.mode("/etc/notifier/credentials") == 0o700


def test_install_reports_an_unreadable_configuration_with_the_remedy(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/config.toml").chmod(0o600)
    output = image.install()
    assert "exists, but the service could not read it" in output.out
    assert "  sudo chmod 0644 /etc/notifier/config.toml" in output.lines
    assert image.mode("/etc/notifier/config.toml") == 0o600


@pytest.mark.parametrize(
    ("instance", "folders"), [((), "/etc/notifier"), (("--instance", "acme"), "/etc/notifier /etc/notifier/acme")]
)
def test_install_reports_an_inaccessible_folder_with_the_remedy(
    image: Image, instance: tuple[str, ...], folders: str
) -> None:
    folder = image.path(folders.rsplit(maxsplit=1)[-1])
    folder.mkdir(parents=True)
    image.path("/etc/notifier").chmod(0o750)
    for result in ("written; complete it", "exists, and was not changed"):
        output = image.install(*instance)
        assert output.lines[0] == f"{folder}: exists, but the service could not enter it"
        assert output.lines[2] == f"{folder}/config.toml: {result}"
        assert f"  sudo chmod o+x {folders}" in output.lines
    image.path("/etc/notifier").chmod(0o755)
    assert "chmod" not in image.install(*instance).out


def test_install_instance_has_its_own_folder_state_file_and_socket(image: Image) -> None:
    output = image.install("--instance", "acme")
    assert "%i" in image.path("/etc/systemd/system/notifier@.service").read_text()
    text = image.path("/etc/notifier/acme/config.toml").read_text()
    assert 'path = "/var/lib/notifier-acme/notifier.db"' in text
    assert 'listen = "unix:/run/notifier-acme/notifier.sock"' in text
    assert output.lines[-1] == "  sudo systemctl enable --now notifier@acme"
    assert output.lines[-2].endswith("check --online --config /etc/notifier/acme/config.toml")


@pytest.mark.parametrize("name", ["Acme", "a_b", "-a", "a/b", "../x", "", "credentials", "%i", 23 * "a"])
def test_install_rejects_an_invalid_instance_name(name: str, image: Image) -> None:
    output = image.install("--instance", name)
    assert output.code == 2
    assert not list(image.root.iterdir())


@pytest.mark.parametrize("instance", [None, "acme"])
def test_initial_configuration_lacks_only_the_secrets(instance: str | None, tmp_path: Path) -> None:
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


def test_install_print_prints_the_unit_and_writes_nothing(image: Image) -> None:
    output = image.install("--print")
    assert output.code == 0
    assert output.out.startswith("# Completion Notifier as a systemd service.\n")
    assert output.out.endswith("WantedBy=multi-user.target\n")
    assert not list(image.root.iterdir())


def test_install_rejects_now_combined_with_root(image: Image) -> None:
    output = image.install("--now")
    assert output.code == 2
    assert "--now cannot be combined with --root" in output.err


def test_install_with_a_file_in_place_of_a_folder_fails_with_one_line(image: Image) -> None:
    image.path("/etc").mkdir()
    image.path("/etc/notifier").write_text("a file where the folder should be")
    output = image.install()
    assert output.code == 1
    assert len(output.err.splitlines()) == 1


def test_installed_program_is_found_from_a_link_or_a_module(tmp_path: Path) -> None:
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


def test_access_problems_of_a_public_program_are_empty() -> None:
    assert access_problems([Path("/bin/sh").resolve()]) == []


def test_access_problems_names_a_folder_closed_to_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.service.preflight._PRIVATE_FOLDERS", ())
    closed = tmp_path / "bin"
    closed.mkdir(mode=0o700)
    program = closed / "notifier"
    program.write_text("")
    (found_problem,) = access_problems([program, program])
    # The tests' folder, or one above it, may be closed to others as well.
    assert found_problem in {
        f"the service runs as its own user, who cannot reach {folder} (mode {folder.stat().st_mode & 0o7777:04o})"
        for folder in program.parents
    }


@pytest.mark.parametrize(
    ("path", "found_problem"),
    [
        ("/opt/nowhere/notifier", "/opt/nowhere cannot be read: No such file or directory"),
        ("/opt/.cache/uv/notifier", "/opt/.cache/uv/notifier is in a cache"),
        ("/var/tmp/venv/bin/notifier", "/var/tmp/venv/bin/notifier is in a folder for temporary files"),  # noqa: S108
    ],
)
def test_access_problems_reports_a_missing_or_temporary_program(path: str, found_problem: str) -> None:
    assert access_problems([Path(path)])[0].startswith(found_problem)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The path of a program, with its package in the same virtual environment."""
    package = tmp_path / "venv" / "lib" / "notifier"
    package.mkdir(parents=True)
    (package / "log.py").touch(0o644)
    program = tmp_path / "venv" / "bin" / "notifier"
    program.parent.mkdir()
    program.touch(0o755)
    return program


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_ownership_problems_of_a_program_of_root_are_empty(program: Path) -> None:
    assert ownership_problems([program], program.parents[1]) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("place", ["bin/notifier", "bin", ".", "lib/notifier/log.py", "lib/notifier"])
@pytest.mark.parametrize(("owner", "mode"), [(12345, 0o755), (0, 0o757), (0, 0o775)])
def test_ownership_problems_names_files_others_can_change(program: Path, place: str, owner: int, mode: int) -> None:
    found = program.parents[1] / place
    # A group with members.
    os.chown(found, owner, 12345 if mode == 0o775 else 0)
    found.chmod(mode)
    (found_problem,) = ownership_problems([program], program.parents[1] / "lib" / "notifier")
    by = "belongs to user 12345" if owner else f"can be written by users other than root (mode {mode:04o})"
    assert found_problem.startswith(f"{found} {by}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_install_print_warns_of_a_program_that_others_can_change(image: Image, program: Path) -> None:
    os.chown(program, 12345, 12345)
    # The tests' own folder is closed to others, which is reported first.
    output = call("install-service", "--root", str(image.root), "--print", "--program", str(program))
    assert f"Warning: {program} belongs to user 12345, who could change what the service runs" in output.err
    assert "Warning: install it as root (sudo) into /opt/notifier" in output.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["/etc/notifier", "/etc/notifier/credentials", "/etc/notifier/config.toml"])
def test_install_refuses_a_folder_or_configuration_that_others_can_write(image: Image, name: str) -> None:
    image.install()
    before = image.mode(name)
    image.path(name).chmod(before | 0o022)
    output = image.install()
    assert output.code == 1
    assert f"{image.path(name)} can be written by users other than root: chown root:root" in output.err
    image.path(name).chmod(before)
    os.chown(image.path(name), 12345, 12345)
    assert image.install().code == 1
