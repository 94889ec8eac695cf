"""The documentation has the table that the daemon was held to."""

from tests.integration.truth.states import STATES
from tests.integration.truth.table import in_readme, written


def test_the_documentation_has_the_table_as_it_is() -> None:
    assert in_readme() == written(), "run `python -m tests.integration.truth.table`"


def test_there_are_at_least_thirty_states() -> None:
    assert len({state.name for state in STATES}) >= 30
