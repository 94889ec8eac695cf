"""The documentation contains the table of the states that the tests check."""

from tests.integration.truth.states import STATES
from tests.integration.truth.table import in_readme, written


def test_documentation_contains_the_current_table_of_states() -> None:
    assert in_readme() == written(), "run `python -m tests.integration.truth.table`"


def test_table_has_at_least_thirty_distinct_states() -> None:
    assert len({state.name for state in STATES}) >= 30
