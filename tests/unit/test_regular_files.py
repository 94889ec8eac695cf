"""Irregular files are described by their kind, without opening them."""

import os
import socket
from pathlib import Path

from notifier.regular_files import describe_irregular, is_there


def test_describe_irregular_names_the_kind_of_file(tmp_path: Path) -> None:
    file, pipe, there = tmp_path / "file", tmp_path / "pipe", tmp_path / "s"
    file.touch()
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(there))
        assert describe_irregular(there) == "is a socket, not a regular file"
    (tmp_path / "link").symlink_to(pipe)
    assert describe_irregular(pipe) == describe_irregular(tmp_path / "link") == "is a named pipe, not a regular file"
    assert describe_irregular(Path("/dev/zero")) == "is a device, not a regular file"
    for usual in (file, tmp_path, Path(os.devnull), tmp_path / "missing", Path("a\0b")):
        assert describe_irregular(usual) is None


def test_is_there_returns_false_for_a_path_that_cannot_be_examined(tmp_path: Path) -> None:
    assert is_there(tmp_path)
    for missing in (tmp_path / "missing", tmp_path / ("n" * 300), Path("a\0b")):
        assert not is_there(missing)
