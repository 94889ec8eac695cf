"""The requirements that the service is installed from: complete, pinned with hashes, in tested versions."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", re.MULTILINE)
TEXT = (ROOT / "systemd" / "requirements.txt").read_text(encoding="utf-8")
PINNED = {name: Version(version) for name, version, _ in PIN.findall(TEXT)}


def required_libraries() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


def test_every_library_is_pinned_with_hashes() -> None:
    lines = [line for line in TEXT.splitlines() if line and line[0] not in "# "]
    assert len(lines) == len(PINNED) > 20


def test_pinned_versions_are_allowed_by_the_dependencies() -> None:
    assert [str(one) for one in required_libraries() if PINNED[canonicalize_name(one.name)] not in one.specifier] == []


def test_pinned_versions_match_the_constraints_of_ci() -> None:
    tried = re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / ".ci" / "constraints.txt").read_text(), re.MULTILINE)
    constraints = {name: Version(version) for name, version in tried}
    assert {name: constraints.get(name) for name in PINNED if name != "pip"} == {
        name: version for name, version in PINNED.items() if name != "pip"
    }


def test_lowest_allowed_versions_have_no_known_vulnerability() -> None:
    lowest = {
        one.name: min(Version(it.version) for it in one.specifier if it.operator == ">=")
        for one in required_libraries()
    }
    assert lowest["jinja2"] >= Version("3.1.6")
    assert lowest["aiohttp"] >= Version("3.14")
