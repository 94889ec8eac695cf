"""Imports: each command imports slow modules only if it needs them, and only when it needs them."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY_MODULES = ("pydantic", "aiohttp", "rich", "sqlite_utils", "orjson", "importlib.metadata")

LATE_MODULES = {
    "apprise",
    "difflib",
    "jinja2",
    "prometheus_client",
    "rich",
    "notifier.cli.man_page",
    "notifier.config.json_schema",
    "notifier.daemon.api.people",
    "notifier.daemon.api.record",
    "notifier.daemon.standby",
    "notifier.destinations.apprise",
    "notifier.destinations.slack",
    "notifier.destinations.teams",
    "notifier.messages.rendering",
    "notifier.sandbox",
    "notifier.store.queries.dashboard",
    "notifier.store.queries.record_history",
    "notifier.store.queries.search",
    "notifier.store.recovery.salvage",
    "notifier.web.dashboard.filters",
    "notifier.web.dashboard.view_model",
    "notifier.web.openapi.document",
    "notifier.web.response_models",
}
"""Modules that a daemon with one `http` destination imports only when a request needs them."""

START_SCRIPT = """
import asyncio, sys
import notifier.cli.commands.run
from notifier.config import Settings
from notifier.daemon.daemon import Daemon

async def start(folder):
    nowhere = {"base_url": "http://127.0.0.1:9/v1", "token": "x"}
    programs = {"type": "http", "url": "http://127.0.0.1:9/"}
    store, http = {"path": f"{folder}/notifier.db"}, {"listen": "127.0.0.1:0"}
    settings = {"store": store, "http": http, "sources": {"acme": nowhere}, "destinations": {"hr": programs}}
    daemon = Daemon(Settings.model_validate(settings))
    await daemon.start()
    print(*sys.modules)
    await daemon.stop()

asyncio.run(start(sys.argv[1]))
"""


def imported_modules(*arguments: str) -> set[str]:
    """Run the program with these arguments; return the names of the modules that it imports."""
    script = "import sys; from notifier.cli import main; main(); print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_import_no_heavy_module(option: str) -> None:
    imported = imported_modules(option)
    assert not imported & set(HEAVY_MODULES)
    assert not {name for name in imported if name.startswith("notifier.cli.commands")}


def test_daemon_start_imports_no_late_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START_SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30
    )
    imported = set(done.stdout.split())
    assert {"aiohttp", "notifier.destinations.webhook.destination"} <= imported
    assert not imported & LATE_MODULES


@pytest.mark.parametrize(
    "arguments", [["--version"], ["status", "--config", "nowhere"], ["sttus"], ["schema", "event"]]
)
def test_garbage_collector_is_off_only_during_imports(arguments: list[str]) -> None:
    script = (
        "import gc, sys, notifier.cli\n"
        "found = []\n"
        "class Finder:\n"
        "    def find_spec(name, path, target=None):\n"
        "        found.append(gc.isenabled()) if name in ('click', 'notifier.cli.commands.schema') else None\n"
        "sys.meta_path.insert(0, Finder)\n"
        "notifier.cli.main()\n"
        "print(found[0], any(found), gc.isenabled(), gc.get_freeze_count() > 0, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr.splitlines()[-1] == "False False True True"


def test_garbage_collector_is_on_again_before_the_command_runs() -> None:
    script = (
        "import gc, click\nfrom notifier import process\nfrom notifier.cli.app import program\n"
        "process.pause_garbage_collection()\nprogram.get_command(click.Context(program), 'schema')\n"
        "print(gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "True\n"
