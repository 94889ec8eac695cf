"""The systemd units: the files in the repository equal the installed ones, systemd accepts them, they are hardened."""

import os
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from notifier.config import HttpInterfaceSettings
from notifier.service.unit import ServicePaths, exec_line_path, unit_text

UNITS = Path(__file__).parents[3] / "systemd"
PROGRAM = PurePosixPath("/opt/notifier/bin/notifier")
PLAIN = ServicePaths()
ONE_OF_SEVERAL = ServicePaths("acme")
MAX_EXPOSURE = "15"
"""The highest accepted exposure, in tenths, as for `systemd-analyze security --threshold`."""


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        skip = "looking at units takes systemd-analyze, of Debian's package systemd"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    return found


@pytest.mark.parametrize("names", [PLAIN, ONE_OF_SEVERAL])
def test_unit_in_the_repository_is_the_installed_one(names: ServicePaths) -> None:
    assert (UNITS / names.unit_file).read_text(encoding="utf-8") == unit_text(PROGRAM, names)


def test_repository_contains_no_other_unit() -> None:
    assert {file.name for file in UNITS.glob("*.service")} == {PLAIN.unit_file, ONE_OF_SEVERAL.unit_file}


@pytest.mark.parametrize("in_a_home", [False, True])
@pytest.mark.parametrize("names", [PLAIN, ONE_OF_SEVERAL])
def test_systemd_accepts_the_unit_and_its_hardening(
    names: ServicePaths, in_a_home: bool, analyze: str, tmp_path: Path
) -> None:
    # /bin/true, because `verify` checks that the program exists.
    file = tmp_path / names.unit_file
    file.write_text(unit_text(PurePosixPath("/bin/true"), names, in_home_folder=in_a_home))
    verified = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", "--no-pager", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


def test_systemd_accepts_the_drop_in_example_as_shipped_and_uncommented(analyze: str, tmp_path: Path) -> None:
    file = tmp_path / PLAIN.unit_file
    file.write_text(unit_text(PurePosixPath("/bin/true"), PLAIN))
    (example,) = UNITS.glob("notifier.service.d/*.conf.example")
    text = example.read_text(encoding="utf-8")
    for drop_in in (text, re.sub(r"^#(?=[A-Z]\w+=)", "", text, flags=re.MULTILINE)):
        folder = tmp_path / f"{PLAIN.unit_file}.d"
        folder.mkdir(exist_ok=True)
        (folder / "example.conf").write_text(drop_in)
        verified = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False)
        assert (verified.returncode, verified.stderr) == (0, "")


def test_systemd_accepts_the_socket_which_has_the_default_address(analyze: str, tmp_path: Path) -> None:
    service, file = tmp_path / PLAIN.unit_file, tmp_path / "notifier.socket"
    service.write_text(unit_text(PurePosixPath("/bin/true"), PLAIN))
    text = (UNITS / file.name).read_text(encoding="utf-8")
    for written in (text, re.sub(r"^#(?=[A-Z]\w+=)", "", text, flags=re.MULTILINE)):
        file.write_text(written)
        verified = subprocess.run([analyze, "verify", "--man=no", file], capture_output=True, text=True, check=False)
        assert (verified.returncode, verified.stderr) == (0, "")
    assert f"\nListenStream={HttpInterfaceSettings().listen}\n" in text


def test_unit_from_systemd_254_on_has_growing_restart_delays() -> None:
    old, new = unit_text(PROGRAM, PLAIN, 253), unit_text(PROGRAM, PLAIN, 254)
    assert "RestartSec=15s\n" in old
    assert "RestartSteps" not in old
    assert "RestartSec=5s\n" in new
    assert "RestartMaxDelaySec=5min\n" in new


def test_unit_for_a_program_in_a_home_folder_protects_home_read_only() -> None:
    assert "\nProtectHome=yes\n" in unit_text(PROGRAM, PLAIN)
    assert "\nProtectHome=read-only\n" in unit_text(PROGRAM, PLAIN, in_home_folder=True)


def test_instance_unit_has_its_own_folders_user_and_configuration() -> None:
    text = unit_text(PROGRAM, ONE_OF_SEVERAL)
    assert "\nStateDirectory=notifier-%i\n" in text
    assert "\nRuntimeDirectory=notifier-%i\n" in text
    assert "\nUser=notifier-%i\n" in text
    assert "\nEnvironment=NOTIFIER_CONFIG=/etc/notifier/%i/config.toml\n" in text


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/opt/notifier/bin/notifier", "/opt/notifier/bin/notifier"),
        ("/opt/50%/notifier", "/opt/50%%/notifier"),
        ("/opt/my tools/notifier", '"/opt/my tools/notifier"'),
        ('/opt/a"b\\c/notifier', '"/opt/a\\"b\\\\c/notifier"'),
    ],
)
def test_exec_line_path_escapes_the_path_for_systemd(path: str, written: str) -> None:
    assert exec_line_path(PurePosixPath(path)) == written
