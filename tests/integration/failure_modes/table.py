"""The table of states in `failure-modes.md`; `python -m tests.integration.failure_modes.table` updates it."""

from pathlib import Path
from typing import Final

from tests.integration.failure_modes.hung import HUNG, HungState
from tests.integration.failure_modes.states import STATES, State

PAGE: Final = Path(__file__).parents[3] / "notifier" / "docs" / "failure-modes.md"
BEGIN: Final = "<!-- begin: what every surface says -->"
END: Final = "<!-- end: what every surface says -->"

_HEAD: Final = (
    (
        "| state | active conditions, which are also reported | `status --exit-code` | source, destination"
        " | `/readyz` | heartbeat | Prometheus | what ends it |"
    ),
    "|---|---|---|---|---|---|---|---|",
)


def render_table() -> str:
    """Return the table as Markdown."""
    return "\n".join([*_HEAD, *(_row(state) for state in STATES), _hung_row(HUNG)])


def documented_table() -> str:
    """Return the table that is in the documentation."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def _row(state: State) -> str:
    conditions = ", ".join(f"`{name}`" for name in state.conditions) or "nothing"
    if state.conditions and state.alerts == ():
        conditions += " (the alert reaches no one)"
    cells = (
        state.name,
        conditions,
        "1" if state.is_failing or state.conditions else "0",
        f"`{state.source}`, {f'`{state.destination}`' if state.destination else 'gone'}",
        f"503: {', '.join(state.unready)}" if state.unready else "200",
        "continues" if state.has_heartbeat else "stops",
        ", ".join(f"`{alert}`" for alert in state.prometheus_alerts) or "nothing",
        state.remedy or ("nothing to do" if state.apply_remedy else "-"),
    )
    return f"| {' | '.join(cells)} |"


def _hung_row(state: HungState) -> str:
    cells = (
        state.name,
        state.shown,
        f"{state.exit_code}, after {state.seconds:g} seconds",
        "no answer",
        "no answer",
        "stops",
        ", ".join(f"`{alert}`" for alert in state.prometheus_alerts),
        state.remedy,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{render_table()}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
