"""Runs the simulation by hand.

python -m tests.simulation list
python -m tests.simulation run calm 2                     run one world and print its story
python -m tests.simulation hunt 600 calm ambush           run worlds of these profiles (default: all) for 600 seconds
python -m tests.simulation shrink calm 2 safety/removed_false --keep row_23
python -m tests.simulation replay tests/simulation/plans/row_23.json
python -m tests.simulation table                          print the seconds until each past fault is found
python -m tests.simulation switches                       print the seconds until each turned-off rule is noticed
python -m tests.simulation trace calm 2                   print a hash of the story, the same in every process
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.simulation.hunting import PAST_FAULTS, Hunt, find_past_fault, hunt, hunt_on_cores
from tests.simulation.plans import make_plan, read_plan, write_plan
from tests.simulation.profiles import PROFILES
from tests.simulation.shrinking import shrink
from tests.simulation.switches import SWITCHES
from tests.simulation.world import Outcome, run_plan, run_seed

PLANS = Path(__file__).with_name("plans")


def _run(options: argparse.Namespace) -> int:
    return _show(run_seed(options.profile, options.seed, with_story=True), requests=not options.brief)


def _replay(options: argparse.Namespace) -> int:
    return _show(run_plan(read_plan(options.path), with_story=True), requests=not options.brief)


def _show(outcome: Outcome, *, requests: bool) -> int:
    for at, text in outcome.story:
        if requests or not text.startswith("  #"):
            print(f"{at:10.2f} {text}")
    print(f"\n{dict(outcome.events)} in {outcome.requests} requests and {outcome.seconds / 3600:.1f} hours")
    for violation in outcome.violations:
        print(f"{violation.at:10.2f} {violation.kind}: {violation.text}")
    return 1 if outcome.violations else 0


def _hunt(options: argparse.Namespace) -> int:
    profiles = options.profiles or [*PROFILES]
    found = hunt_on_cores(profiles, options.seconds, options.cores, first_seed=options.first_seed)
    for profile in profiles:
        kinds = {kind: number for (name, kind), number in found.violations.items() if name == profile}
        print(f"{profile}: {found.worlds[profile]} worlds{'' if kinds else ', nothing found'}")
        for kind, number in sorted(kinds.items()):
            find = found.finds[profile, kind]
            print(f"   {kind} in {number}; first: seed {find.seed} after {find.seconds:.1f} s: {find.text[:200]}")
    _print_speed(found, options.seconds)
    return 1 if found.finds else 0


def _print_speed(found: Hunt, seconds: float) -> None:
    print(
        f"{found.worlds.total()} worlds, {found.simulated_seconds / 3600:,.0f} simulated hours,"
        f" {found.requests:,} requests: {found.requests / seconds:,.0f} a second"
    )


def _shrink(options: argparse.Namespace) -> int:
    plan = shrink(make_plan(options.profile, options.seed), options.kind, options.seconds)
    print(
        f"{len(plan.entries)} entries, {len(plan.actions)} actions, {len(plan.kills)} kills, {len(plan.spells)} spells,"
        f" {len(plan.fates or {})} odd requests"
    )
    if options.keep:
        write_plan(replace(plan, open=options.open), PLANS / f"{options.keep}.json")
    return _show(run_plan(plan, with_story=True), requests=not options.brief)


def _table(options: argparse.Namespace) -> int:
    missed = 0
    for row in PAST_FAULTS:
        if options.rows and row.number not in options.rows:
            continue
        find, worlds = find_past_fault(row, options.seconds)
        where = f"not in {worlds} worlds" if find is None else f"{find.kind}, seed {find.seed}, {find.seconds:.1f} s"
        missed += find is None
        print(f"{row.number:4} {row.what:48} {row.profile:16} {where}", flush=True)
    return 1 if missed else 0


def _switches(options: argparse.Namespace) -> int:
    missed = 0
    for switch in SWITCHES:
        if not switch.has_target:
            missed += 1
            print(f"{switch.name:56} HAS NOTHING TO REPLACE: see tests/simulation/switches.py", flush=True)
            continue
        with switch.turned_off():
            found = hunt(switch.profiles, options.seconds, stop=True, clock=time.process_time)
        find = min(found.finds.values(), key=lambda find: find.seconds, default=None)
        missed += find is None
        where = (
            f"NOT NOTICED in {found.worlds.total()} worlds"
            if find is None
            else f"{find.kind} in {find.profile}, seed {find.seed}, after {find.seconds:.1f} s"
        )
        print(f"{switch.name:56} {where}", flush=True)
    return 1 if missed else 0


def _list(_options: argparse.Namespace) -> int:
    for name in PROFILES:
        rows = [row.number for row in PAST_FAULTS if row.profile == name]
        print(name + (f" (row {', '.join(rows)})" if rows else ""))
    return 0


def _trace(options: argparse.Namespace) -> int:
    outcome = run_seed(options.profile, options.seed, with_story=True)
    print(hashlib.sha256(repr(outcome.story).encode()).hexdigest(), len(outcome.story))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    def command(
        name: str, work: Callable[[argparse.Namespace], int], *, a_seed: bool = False
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name)
        made.set_defaults(work=work)
        made.add_argument("--brief", action="store_true", help="leave requests out of the story")
        if a_seed:
            made.add_argument("profile", choices=[*PROFILES])
            made.add_argument("seed", type=int)
        return made

    command("list", _list)
    command("run", _run, a_seed=True)
    command("trace", _trace, a_seed=True)
    hunting = command("hunt", _hunt)
    hunting.add_argument("seconds", type=float)
    hunting.add_argument("profiles", nargs="*")
    hunting.add_argument("--cores", type=int, default=2)
    hunting.add_argument("--first-seed", type=int, default=0)
    shrinking = command("shrink", _shrink, a_seed=True)
    shrinking.add_argument("kind")
    shrinking.add_argument("--seconds", type=float, default=60.0)
    shrinking.add_argument("--keep", help="the name of the plan to keep")
    shrinking.add_argument("--open", action="store_true", help="note that the program still fails")
    replaying = command("replay", _replay)
    replaying.add_argument("path", type=Path)
    tables = command("table", _table)
    tables.add_argument("rows", nargs="*")
    tables.add_argument("--seconds", type=float, default=20.0, help="for each row, at most")
    command("switches", _switches).add_argument("--seconds", type=float, default=20.0, help="for each rule, at most")
    return parser


if __name__ == "__main__":
    arguments = _parser().parse_args()
    sys.exit(arguments.work(arguments))
