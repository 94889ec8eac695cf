"""Tables on a terminal."""

import pytest

from notifier.cli.formatting import Column
from notifier.cli.rich_output import draw


@pytest.mark.parametrize("person", ["Jorge Miller", "山田太郎山田太郎山田太郎", "🚧🚧🚧 Ladder Safety"])
def test_draw_on_a_narrow_terminal_shows_every_cell_uncut(
    person: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    draw([Column("person"), Column("completed")], [(person, "2026-11-21")], [len(person), 10], show_titles=True)
    shown = capsys.readouterr().out
    assert (person in shown, "2026-11-21" in shown) == (True, True)
