"""Every row of the documentation's table of what can fail is held by tests that exist."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "notifier" / "docs" / "failure-modes.md"
HELD_BY = json.loads((Path(__file__).parent / "held_by.json").read_text(encoding="utf-8"))["rows"]


def rows() -> list[str]:
    """Return what happens, of each row."""
    table, _, _ = PAGE.read_text(encoding="utf-8").partition("<!-- begin")
    found = [line.removeprefix("| ").split(" | ", 1)[0] for line in table.splitlines() if line.startswith("| ")]
    assert found[0] == "what happens"
    return found[1:]


def test_each_row_names_its_tests() -> None:
    unheld = [row for row in rows() if not any(row.startswith(beginning) for beginning in HELD_BY)]
    assert not unheld, "name the tests that hold them in tests/integration/field_reports/held_by.json"


def test_no_row_and_no_test_is_named_that_is_not_there() -> None:
    assert [beginning for beginning in HELD_BY if not any(row.startswith(beginning) for row in rows())] == []
    assert [file for files in HELD_BY.values() for file in files if not (ROOT / file).is_file()] == []
