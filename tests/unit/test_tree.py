"""The tests of a package are found by its path, and no test file depends on another one."""

import re
from pathlib import Path

import notifier

PACKAGE = Path(notifier.__file__).parent
TESTS = Path(__file__).parents[1]


def test_each_folder_of_unit_tests_exists_in_the_package() -> None:
    unit = TESTS / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("*.py")}
    assert len(folders) > 15
    assert [str(folder) for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []


def test_no_test_file_imports_another_one() -> None:
    files = list(TESTS.rglob("*.py"))
    importing = re.compile(r"^ *(?:from|import) (tests\.[\w.]*\btest_\w+)", re.MULTILINE)
    found = [(str(file.relative_to(TESTS)), importing.findall(file.read_text(encoding="utf-8"))) for file in files]
    assert [(file, imported) for file, imported in found if imported] == []


def test_no_module_is_longer_than_400_lines() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert [(str(path.relative_to(PACKAGE)), count) for path, count in lines.items() if count > 400] == []
