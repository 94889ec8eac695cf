"""A large made-up account: up to 3,000 people, about forty safety trainings, and records of eight years."""

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from notifier.sandbox.account import Account, system_now_ms
from notifier.sandbox.catalog import Training, make_user
from notifier.sandbox.record_generator import RecordGenerator
from notifier.sandbox.records import Dialect, IdPair, Record, day_of

_DAY_MS = 86_400_000
_YEARS = 8
_FIRST_TRAINING_ID = 1024
_FIRST_RECORD_ID = 2000
_RECORDS_PER_PERSON = 300
_PEOPLE_AT_LEAST = 40
_PEOPLE_AT_MOST = 3000

_TITLES = (
    ("Aerial Lift Operation", 36),
    ("Arc Flash Awareness", 36),
    ("Asbestos Awareness", 12),
    ("Behavior-Based Safety", 24),
    ("Bloodborne Pathogens", 12),
    ("Compressed Gas Cylinders", 24),
    ("Confined Space Entry", 12),
    ("Confined Space Rescue", 12),
    ("CPR and AED", 24),
    ("Crane Operation", 36),
    ("Defensive Driving", 24),
    ("DOT Hazardous Materials", 36),
    ("Electrical Safety", 36),
    ("Emergency Action Plan", 12),
    ("Ergonomics and Lifting", 24),
    ("Excavation and Trenching", 24),
    ("Fall Protection", 24),
    ("Fire Extinguisher Use", 12),
    ("Fire Watch", 12),
    ("First Aid", 24),
    ("Forklift Operation", 36),
    ("Hand and Power Tools", 24),
    ("Hazard Communication", 12),
    ("HAZWOPER 8-Hour Refresher", 12),
    ("Hearing Conservation", 12),
    ("Heat Illness Prevention", 12),
    ("Hot Work Permit", 12),
    ("Hydrogen Sulfide (H2S)", 12),
    ("Incident Investigation", 0),
    ("Job Safety Analysis", 24),
    ("Ladder Safety", 24),
    ("Lead Awareness", 12),
    ("Lockout/Tagout", 12),
    ("Machine Guarding", 24),
    ("New Hire Orientation", 0),
    ("Respirator Fit Test", 12),
    ("Rigging and Signal Person", 60),
    ("Scaffold User", 24),
    ("Silica Awareness", 12),
    ("Stop Work Authority", 12),
    ("Welding and Cutting", 24),
    ("Working at Heights Rescue", 12),
)
"""Each training's title, and the months until its renewal (0: never)."""

_FIRSTNAMES = (
    *("Aaliyah", "Aisha", "Alejandro", "Amara", "Andre", "Anna", "Bao", "Brian", "Carlos", "Chloe"),
    *("Craig", "Dana", "Darnell", "David", "Deepa", "Derrick", "Diego", "Elena", "Emeka", "Erin"),
    *("Fatima", "Frank", "Gabriela", "Grace", "Hannah", "Hector", "Hiroshi", "Ingrid", "Ivan", "Jamal"),
    *("Janet", "Jorge", "Kateryna", "Kevin", "Kofi", "Laura", "Leila", "Lucas", "Maria", "Mei"),
    *("Miguel", "Nadia", "Nathan", "Olga", "Omar", "Patrick", "Priya", "Quinn", "Rachel", "Ravi"),
    *("Rosa", "Ryan", "Samuel", "Sofia", "Susan", "Tariq", "Teresa", "Thomas", "Victor", "Yusuf"),
)
_LASTNAMES = (
    *("Adams", "Alvarez", "Bailey", "Baker", "Ball", "Bennett", "Brown", "Campbell", "Chen", "Clark"),
    *("Cohen", "Cruz", "Diaz", "Dixon", "Edwards", "Evans", "Fischer", "Flores", "Foster", "Garcia"),
    *("Gomez", "Gupta", "Hall", "Harris", "Hernandez", "Hughes", "Ibrahim", "Jackson", "Jensen", "Johnson"),
    *("Jones", "Kelly", "Khan", "Kim", "Kowalski", "Larsen", "Lee", "Lewis", "Lopez", "Martin"),
    *("Mbeki", "Mendoza", "Miller", "Moore", "Morales", "Murphy", "Nair", "Nguyen", "Novak", "O'Brien"),
    *("Okafor", "Olsen", "Ortiz", "Owens", "Park", "Patel", "Perez", "Petrov", "Phillips", "Ramirez"),
    *("Reed", "Reyes", "Rivera", "Robinson", "Rossi", "Ruiz", "Sanchez", "Sato", "Schmidt", "Scott"),
    *("Silva", "Singh", "Smith", "Sullivan", "Tanaka", "Taylor", "Torres", "Tran", "Turner", "Walker"),
    *("Wilson", "Wright", "Zhou"),
)


def synthetic_account(
    records: int,
    *,
    seed: int = 0,
    people: int | None = None,
    dialect: Dialect | None = None,
    now_ms: Callable[[], int] = system_now_ms,
) -> Account:
    """Return a made-up account with `records` completions, entered evenly over the past eight years.

    The same arguments and the same `now_ms()` give the same account. `people` is the number of people; by default, one
    per 300 records, but at least 40 and at most 3,000.
    """
    now = now_ms()
    founded = now - _YEARS * 365 * _DAY_MS
    headcount = people or min(max(records // _RECORDS_PER_PERSON, _PEOPLE_AT_LEAST), _PEOPLE_AT_MOST)
    account = Account(
        users=_generate_people(headcount, seed=seed, since=founded),
        trainings=[
            Training(IdPair.from_number(_FIRST_TRAINING_ID + index), title, founded + index, renewal_months)
            for index, (title, renewal_months) in enumerate(_TITLES)
        ],
        dialect=dialect,
        now_ms=now_ms,
    )
    generator = RecordGenerator(
        [person["id"] for person in account.users],
        [training.ids for training in account.trainings],
        seed=seed,
        next_id=count(_FIRST_RECORD_ID).__next__,
    )
    account.add_many(_generate_records(generator, records, since=founded, until=now))
    return account


def _generate_records(generator: RecordGenerator, records: int, *, since: int, until: int) -> Iterator[Record]:
    entered = 0
    while entered < records:
        moment = since + (until - since) * entered // records
        session = generator.generate_session(day_of(moment))
        attendees = session.attendees[: records - entered]
        for offset, attendee in enumerate(attendees):
            yield generator.generate_record(session, attendee, moment + offset)
        entered += len(attendees)


def _generate_people(headcount: int, *, seed: int, since: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)  # noqa: S311 - plausible, not secret
    return [
        make_user(
            f"5e580f0db7806000{number:08x}",
            rng.choice(_FIRSTNAMES),
            rng.choice(_LASTNAMES),
            number=number,
            created=since + number,
        )
        for number in range(1, headcount + 1)
    ]
