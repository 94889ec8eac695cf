"""Every row of the table in `failure-modes.md` has tests, and these tests exist."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "notifier" / "docs" / "failure-modes.md"
HELD_BY = json.loads((Path(__file__).parent / "held_by.json").read_text(encoding="utf-8"))["rows"]


def rows() -> list[str]:
    """Return the first column of each row: what happens."""
    table, _, _ = PAGE.read_text(encoding="utf-8").partition("<!-- begin")
    found = [line.removeprefix("| ").split(" | ", 1)[0] for line in table.splitlines() if line.startswith("| ")]
    assert found[0] == "what happens"
    return found[1:]


def test_each_row_has_an_entry_in_held_by() -> None:
    unheld = [row for row in rows() if not any(row.startswith(beginning) for beginning in HELD_BY)]
    assert not unheld, "name the tests that hold them in tests/integration/field_reports/held_by.json"


def test_held_by_names_only_existing_rows_and_test_files() -> None:
    assert [beginning for beginning in HELD_BY if not any(row.startswith(beginning) for row in rows())] == []
    assert [file for files in HELD_BY.values() for file in files if not (ROOT / file).is_file()] == []
