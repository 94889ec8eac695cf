"""What the real program imports: nothing heavy where nothing heavy is needed."""

import subprocess
import sys

import pytest

HEAVY = ("pydantic", "aiohttp", "rich", "sqlite_utils", "orjson", "importlib.metadata")


def modules_after(*arguments: str) -> set[str]:
    """Return what a process has imported that ran these arguments."""
    script = "import sys; from notifier.cli import main; main(); print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout
    return set(done.stderr.split())


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_what_needs_nothing_imports_nothing(option: str) -> None:
    imported = modules_after(option)
    assert not imported & set(HEAVY)
    assert not {name for name in imported if name.startswith("notifier.cli.commands")}
