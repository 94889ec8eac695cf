"""The Containerfile, the Quadlet and the YAML of the documentation agree with the program and with each other."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from packaging.specifiers import SpecifierSet

from notifier.cli.app import COMMANDS
from notifier.cli.errors import ExitCode
from notifier.config import HttpInterfaceSettings, load
from notifier.config.paths import CREDENTIALS_FOLDER_NAME, SYSTEM_FILE, default_state_file
from notifier.config.settings import StoreSettings
from notifier.web.openapi.operations import OPERATIONS
from tests.support.containerfile import CONTAINERFILE, REPOSITORY, stages

BUILD, IMAGE = stages()
QUADLET = CONTAINERFILE.with_name("notifier.container")
PAGE = (REPOSITORY / "notifier" / "docs" / "containers.md").read_text(encoding="utf-8")
PORT = str(HttpInterfaceSettings().listen).rpartition(":")[2]
VALUES = {
    "NOTIFIER_STORE__URL": "postgresql://notifier:pass@127.0.0.1/notifier",
    "NOTIFIER_HTTP__TOKEN": "0123456789abcdef",
    "NOTIFIER_SOURCES__ACME__TOKEN": "t0ken-of-acme",
    "NOTIFIER_DESTINATIONS__HR_SYSTEM__SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


def copied() -> set[str]:
    """Return what the build copies from the repository."""
    return {word for one in BUILD.all("COPY") for word in one.words[:-1]}


def quadlet(section: str) -> list[tuple[str, str]]:
    """Return the keys of a section with their values; a key may occur several times."""
    text = re.sub(r"^#.*\n", "", QUADLET.read_text(encoding="utf-8"), flags=re.MULTILINE)
    body = text.partition(f"[{section}]\n")[2].partition("\n[")[0]
    pairs = [line.partition("=") for line in body.splitlines() if line]
    return [(key, value) for key, _, value in pairs]


def documents() -> Iterator[dict[str, Any]]:
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        yield from yaml.safe_load_all(block)


def document(kind: str) -> dict[str, Any]:
    (found,) = [one for one in documents() if one["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    specification: dict[str, Any] = document("Deployment")["spec"]["template"]["spec"]
    return specification


def test_build_copies_exactly_the_existing_files_of_its_context() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert copied() == sent
    assert [name for name in copied() if not (REPOSITORY / name).exists()] == []


def test_links_in_the_package_lead_only_to_copied_files() -> None:
    links = [file for file in (REPOSITORY / "notifier").rglob("*") if file.is_symlink()]
    targets = {str(file.resolve().relative_to(REPOSITORY)) for file in links}
    assert targets <= copied() | {name for name in targets if name.startswith("notifier/")}


def test_build_copies_all_files_of_the_wheel_and_uses_a_supported_python() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["project"]["readme"], *project["project"]["license-files"], *wheel["packages"]}
    assert needed | {"pyproject.toml"} <= copied()
    assert all(name.startswith("notifier/") for name in wheel["shared-data"])
    (base,) = re.findall(r"^ARG BASE=\S+/python:([0-9.]+)-slim-\w+$", CONTAINERFILE.read_text(), re.MULTILINE)
    assert base in SpecifierSet(project["project"]["requires-python"])
    assert f"Programming Language :: Python :: {base}" in project["project"]["classifiers"]


def test_build_installs_libraries_with_hashes_and_compiles_none() -> None:
    (installed,) = [one.text for one in BUILD.all("RUN") if "requirements.txt" in one.text]
    assert "--require-hashes" in installed
    assert "--only-binary=:all:" in installed


def test_image_runs_existing_commands_as_an_unprivileged_user() -> None:
    for command in (IMAGE.command, IMAGE.health_command):
        assert command[0] == "notifier"
        assert command[1] in COMMANDS
    assert IMAGE.user == (65532, 65532)
    assert (BUILD.base, IMAGE.base) == ("${BASE} AS build", "${BASE}")
    assert "/opt/notifier/bin" in IMAGE.environment["PATH"].split(":")


def test_image_keeps_the_state_file_in_the_volume() -> None:
    assert str(default_state_file(IMAGE.environment).parent) == IMAGE.only("VOLUME").text


def test_quadlet_matches_the_image() -> None:
    keys = dict(quadlet("Container"))
    assert (int(keys["User"]), int(keys["Group"])) == IMAGE.user
    assert keys["HealthCmd"].split() == IMAGE.health_command
    mounted = dict(value.split(":")[:2][::-1] for key, value in quadlet("Container") if key == "Volume")
    assert set(mounted) == {str(SYSTEM_FILE.parent), IMAGE.only("VOLUME").text}
    assert keys["PublishPort"] == f"127.0.0.1:{PORT}:{PORT}"
    health = IMAGE.only("HEALTHCHECK").text
    for option, key in (("interval", "Interval"), ("timeout", "Timeout"), ("retries", "Retries")):
        assert f"--{option}={keys[f'Health{key}']}" in health
    for key, value in (("ReadOnly", "true"), ("NoNewPrivileges", "true"), ("DropCapability", "all")):
        assert keys[key] == value
    service = dict(quadlet("Service"))
    assert int(service["RestartPreventExitStatus"]) == ExitCode.WRONG_CONFIGURATION
    # Podman stops the container, and systemd waits for Podman.
    (stop_timeout,) = re.findall(r"--stop-timeout=(\d+)", keys["PodmanArgs"])
    assert int(stop_timeout) < int(service["TimeoutStopSec"].removesuffix("s"))


def test_systemd_accepts_the_other_sections_of_the_quadlet(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        skip = "looking at units takes systemd-analyze, of Debian's package systemd"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    text = QUADLET.read_text(encoding="utf-8")
    before, _, rest = text.partition("[Container]\n")
    unit = tmp_path / "notifier.service"
    unit.write_text(f"{before}[Service]\nType=notify\nExecStart=/bin/true\n{rest.partition('[Service]')[2]}")
    verified = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_documented_pod_matches_the_image() -> None:
    (container,) = pod()["containers"]
    security = pod()["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == IMAGE.user
    assert security["fsGroup"] == IMAGE.user[1]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounted == {"configuration": str(SYSTEM_FILE.parent), "state": IMAGE.only("VOLUME").text}
    assert {one["name"] for one in pod()["volumes"]} == set(mounted)
    assert document("StatefulSet")["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "state"


def test_documented_probes_request_existing_routes() -> None:
    (container,) = pod()["containers"]
    (port,) = container["ports"]
    known = {operation.route.partition(" ")[2] for group in OPERATIONS.values() for operation in group}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"].partition("?")[0] in known
        assert asked["port"] == port["name"]
    assert str(port["containerPort"]) == PORT


def test_documented_configuration_and_secrets_are_loaded_from_the_volume(tmp_path: Path) -> None:
    (projected,) = [one["projected"] for one in pod()["volumes"] if "projected" in one]
    configuration, secret = projected["sources"]
    assert projected["defaultMode"] == 0o440
    assert configuration["configMap"]["name"] == document("ConfigMap")["metadata"]["name"]
    assert secret["secret"]["name"] == document("Secret")["metadata"]["name"]
    items = {item["key"]: item["path"] for item in secret["secret"]["items"]}
    assert set(items) == set(document("Secret")["stringData"]) == set(VALUES)
    for key, path in items.items():
        assert path == f"{CREDENTIALS_FOLDER_NAME}/{key}"
        if key != "NOTIFIER_STORE__URL" or "url" in StoreSettings.model_fields:
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_text(VALUES[key])
    file = tmp_path / SYSTEM_FILE.name
    file.write_text(document("ConfigMap")["data"][file.name])
    settings = load(file, environ=IMAGE.environment, secrets_dir=tmp_path / CREDENTIALS_FOLDER_NAME, cwd=tmp_path)
    assert settings.sources["acme"].token.get_secret_value() == VALUES["NOTIFIER_SOURCES__ACME__TOKEN"]
    assert str(settings.http.listen) == f"0.0.0.0:{PORT}"


def test_build_context_excludes_configuration_and_state_files() -> None:
    """A token in a `config.toml` of the repository's folder must not get into a layer."""
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    for name in ("config.toml", "notifier.db", ".git/config", ".venv/bin/python"):
        assert not any(fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in sent)
