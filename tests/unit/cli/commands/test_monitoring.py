"""`notifier monitoring`: the files that Prometheus and Grafana read."""

import json
import os
from pathlib import Path

import pytest

from tests.support.command_line import call

FILES = ["grafana-dashboard.json", "notifier.rules.yml", "prometheus.yml"]


def test_monitoring_writes_the_files_and_lists_them(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for it"
    said = call("monitoring", str(folder))
    assert (said.code, said.lines) == (0, [str(folder / name) for name in FILES])
    assert json.loads((folder / FILES[0]).read_bytes())["title"] == "Completion Notifier"
    assert sorted(file.name for file in folder.iterdir()) == FILES


def test_monitoring_overwrites_changed_files_only_with_force(tmp_path: Path) -> None:
    assert call("monitoring", str(tmp_path)).code == 0
    assert call("monitoring", str(tmp_path)).code == 0
    (tmp_path / FILES[1]).write_text("groups: []\n")
    (tmp_path / FILES[2]).unlink()
    said = call("monitoring", str(tmp_path))
    assert said.code == 1
    assert (
        said.err == f"Error: notifier.rules.yml in {tmp_path} would be overwritten: use --force, or name another DIR\n"
    )
    assert (tmp_path / FILES[1]).read_text() == "groups: []\n"
    assert not (tmp_path / FILES[2]).exists()
    assert call("monitoring", str(tmp_path), "--force").code == 0
    assert "NotifierDown" in (tmp_path / FILES[1]).read_text()


@pytest.mark.parametrize("place", ["file", "file/below", "closed/below", "n" * 300])
def test_monitoring_with_an_unwritable_folder_exits_1_with_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir(mode=0o500)
    if place.startswith("closed") and os.geteuid() == 0:
        (tmp_path / "closed").rmdir()
        (tmp_path / "closed").symlink_to("/proc/nowhere")
    said = call("monitoring", str(tmp_path / place))
    assert (said.code, said.out) == (1, "")
    assert "cannot be written: " in said.err
