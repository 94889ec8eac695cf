"""The documentation contains the table of the states that the tests check."""

from tests.integration.failure_modes.states import STATES
from tests.integration.failure_modes.table import documented_table, render_table


def test_documentation_contains_the_current_table_of_states() -> None:
    assert documented_table() == render_table(), "run `python -m tests.integration.failure_modes.table`"


def test_table_has_at_least_thirty_distinct_states() -> None:
    assert len({state.name for state in STATES}) >= 30
