"""`notifier help TOPIC` on a terminal."""

from pathlib import Path

import pytest

from tests.support.terminal import at_terminal

PAGER = """#!/bin/sh
echo "options <$LESS>"
if grep -q "$(printf '\\033')"; then echo with codes; else echo plain; fi
"""


@pytest.mark.parametrize(
    ("options", "seen", "form"), [(None, "-R", "with codes"), ("-i", "-i", "plain"), ("-FRX", "-FRX", "with codes")]
)
def test_help_sends_colour_codes_only_to_a_pager_that_interprets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str | None, seen: str, form: str
) -> None:
    pager = tmp_path / "pager"
    pager.write_text(PAGER)
    pager.chmod(0o755)
    monkeypatch.delenv("LESS", raising=False)
    with at_terminal(
        "help", "service", cwd=tmp_path, environ={"PAGER": str(pager)} | ({} if options is None else {"LESS": options})
    ) as person:
        assert person.leave() == 0
    assert (f"options <{seen}>" in person.screen, form in person.screen) == (True, True)
