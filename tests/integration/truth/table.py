"""The table of truth as the documentation shows it: `python -m tests.integration.truth.table` writes it again. Pure."""

from pathlib import Path
from typing import Final

from tests.integration.truth.hung import HUNG, Outside
from tests.integration.truth.states import STATES, State

README: Final = Path(__file__).parents[3] / "notifier" / "docs" / "failure-modes.md"
BEGIN: Final = "<!-- begin: what every surface says -->"
END: Final = "<!-- end: what every surface says -->"

_HEAD: Final = (
    (
        "| state | active conditions, which are also reported | `status --exit-code` | source, destination"
        " | `/readyz` | heartbeat | Prometheus | what ends it |"
    ),
    "|---|---|---|---|---|---|---|---|",
)


def written() -> str:
    """Write the table."""
    return "\n".join([*_HEAD, *(_row(state) for state in STATES), _row_of_outside(HUNG)])


def in_readme() -> str:
    """Return the table that the documentation has."""
    return README.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def _row(state: State) -> str:
    stands = ", ".join(f"`{name}`" for name in state.stands) or "nothing"
    if state.stands and state.told == ():
        stands += " (the alert reaches no one)"
    cells = (
        state.name,
        stands,
        "1" if state.fails or state.stands else "0",
        f"`{state.source}`, {f'`{state.destination}`' if state.destination else 'gone'}",
        f"503: {', '.join(state.unready)}" if state.unready else "200",
        "continues" if state.beats else "stops",
        ", ".join(f"`{alert}`" for alert in state.rules) or "nothing",
        state.remedy or ("nothing to do" if state.mend else "-"),
    )
    return f"| {' | '.join(cells)} |"


def _row_of_outside(state: Outside) -> str:
    cells = (
        state.name,
        state.says,
        f"{state.exit_code}, after {state.seconds:g} seconds",
        "no answer",
        "no answer",
        "stops",
        ", ".join(f"`{alert}`" for alert in state.rules),
        state.remedy,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{written()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
