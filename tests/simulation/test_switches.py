"""The switches that `python -m tests.simulation switches` turns off."""

import pytest

from tests.simulation.switches import SWITCHES, Switch


@pytest.mark.parametrize("switch", SWITCHES, ids=[switch.name for switch in SWITCHES])
def test_switch_finds_its_target(switch: Switch) -> None:
    assert switch.has_target
    with switch.turned_off():
        pass
