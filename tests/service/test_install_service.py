"""`notifier install-service`: what it writes where, what it leaves alone, and what it refuses."""

import os
import stat
from pathlib import Path

import pytest

from notifier.config import ConfigError, load
from notifier.service.installation import obstacles, present_needs, present_program
from notifier.service.placing import first_configuration
from notifier.service.units import Names
from tests.cli.conftest import Said, call

PROGRAM = "/opt/nowhere/bin/notifier"


class Image:
    """The files of another machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def install(self, *arguments: str) -> Said:
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
        "is there",
        "is there",
        "is there, and was left alone",
        "is as it should be",
    ]


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
    assert f"{image.path('/etc/notifier/credentials')}: closed to all but root" in said.lines
    assert image.mode("/etc/notifier/credentials") == 0o700


def test_a_configuration_that_the_service_could_not_read_is_told_with_the_remedy(image: Image) -> None:
    image.install()
    image.path("/etc/notifier/config.toml").chmod(0o600)
    said = image.install()
    assert "is there, but the service could not read it" in said.out
    assert "  sudo chmod 0644 /etc/notifier/config.toml" in said.lines
    assert image.mode("/etc/notifier/config.toml") == 0o600


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
    file.write_text(first_configuration(Names(instance)))
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
    assert "--now starts a service of this machine" in said.err


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
    assert present_program(str(link)) == program
    by_module = present_program("/somewhere/notifier/__main__.py")
    assert by_module is not None
    assert by_module.name == "notifier"
    assert present_needs(by_module)[0] == by_module


def test_a_program_that_everybody_can_run_is_in_nobodys_way() -> None:
    assert obstacles([Path("/bin/sh").resolve()]) == []


def test_a_program_that_the_services_user_cannot_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.service.installation._OF_THE_SERVICE_ALONE", ())
    closed = tmp_path / "bin"
    closed.mkdir(mode=0o700)
    program = closed / "notifier"
    program.write_text("")
    (told,) = obstacles([program, program])
    # The tests' folder may be closed to others itself.
    assert told in {
        f"the service runs as a user of its own, who cannot reach {folder} (mode {folder.stat().st_mode & 0o7777:04o})"
        for folder in program.parents
    }


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/opt/nowhere/notifier", "/opt/nowhere cannot be looked at: No such file or directory"),
        ("/opt/.cache/uv/notifier", "/opt/.cache/uv/notifier is in a cache"),
        ("/var/tmp/venv/bin/notifier", "/var/tmp/venv/bin/notifier is in a folder for temporary files"),  # noqa: S108
    ],
)
def test_a_program_that_is_not_there_or_not_for_long_is_told(path: str, told: str) -> None:
    assert obstacles([Path(path)])[0].startswith(told)
