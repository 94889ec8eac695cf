"""An account with the examples of the documentation, and the account that the command line serves.

Users, trainings and completions are copied from the KPA Flex API documentation. Each example is for one version of the
API; values that only the other version shows (a second id, a name) are made up. Two people of the examples are not
among the users, as if they had been deleted.
"""

from collections.abc import Callable

from notifier.sandbox.account import Account, system_now_ms
from notifier.sandbox.catalog import Training, make_user
from notifier.sandbox.large_account import synthetic_account
from notifier.sandbox.records import Dialect, IdPair, Record, Version

_USERS = (
    {
        "id": "5804f0f30ef50473af5870c6",
        "created": 1476718836355,
        "registered_on": 1476718836602,
        "firstname": "Derrick",
        "lastname": "Brown",
        "employeeNumber": "DBROWN",
        "email": "dbrown.acme@example.com",
        "username": "dbrown",
        "hireDate": 1476718836357,
        "role_id": "5804f0f30ef50473af5870ca",
        "clients_id": ["5804f0f40ef50473af588730", "5804f0f40ef50473af738640"],
        "metavalues": {"6s9dfinqcqmowmbhk0": ["1029"]},
        "lastWebAccess": 1605904630000,
        "lastMobileAccess": 1605904530000,
    },
    {
        "id": "5804f0f40ef50473af5870e6",
        "created": 1470325236552,
        "firstname": "David",
        "lastname": "Ball",
        "employeeNumber": "DAVI2345",
        "email": "dball.acme@example.com",
        "username": "dball",
        "cellPhone": "(555) 555-5555",
        "hireDate": 1345525200000,
        "emergencyContact": "Spouse: (405) 555-1234\nBrother: (918) 555-1234",
        "isDriver": True,
        "role_id": "5804f0f30ef50473af5870ca",
        "clients_id": [],
        "metavalues": {"6s9dfinqcqmowmbhk0": ["1029"]},
    },
    make_user("5804f0f40ef50473af5870e9", "Maria", "Lopez", number=3, created=1476718836358),
    make_user("5804f0f40ef50473af58717c", "Susan", "Wright", number=4, created=1476718836359),
    make_user("5e580f0cb780600088bd2c11", "David", "Ball", number=5, created=1582829324001),
    make_user("5e580f0db780600088bd2ca6", "Priya", "Nair", number=6, created=1582829325002),
    make_user("5e580f0db780600088bd2ccd", "Frank", "Okafor", number=7, created=1582829325003),
)

_DRIVER_TRAINING = Training(
    IdPair("5804f0f70ef50473af5871a8", 1041),
    "Driver Training",
    1476718839584,
    v1={
        "id": "5804f0f70ef50473af5871a8",
        "title": "Driver Training",
        "created": 1476718839584,
        "includedTrainings_id": [],
        "renewalMonths": 12,
        "assignedToType": "limited",
        "isHighlightedOnEmployeeProfile": False,
    },
)
_LADDER_SAFETY = Training(
    IdPair("5804f0f70ef50473af5871a9", 1046),
    "Ladder Safety",
    1476718839585,
    v1={
        "id": "5804f0f70ef50473af5871a9",
        "title": "Ladder Safety",
        "created": 1476718839585,
        "lesson_id": 1026,
        "includedTrainings_id": [],
        "renewalMonths": 12,
        "assignedToType": "all",
        "assignedToCondition": {},
        "Notes": "Be sure to contact Susan for schedule changes with this training.",
        "isHighlightedOnEmployeeProfile": False,
    },
)
_FIRST_AID = Training(
    IdPair("5804f0f70ef50473af5871aa", 1042),
    "First Aid Training",
    1476718839586,
    v1={
        "id": "5804f0f70ef50473af5871aa",
        "title": "First Aid Training",
        "created": 1476718839586,
        "lesson_id": 1024,
        "includedTrainings_id": [],
        "renewalMonths": 12,
        "assignedToType": "all",
        "assignedToCondition": {},
        "isHighlightedOnEmployeeProfile": False,
    },
)
_CRANE_OPERATION = Training(IdPair("5804f0f70ef50473af5871ab", 1043), "Crane Operation", 1476718839587, 36)
_COORDINATOR_TRAINING = Training(
    IdPair("5804f0f70ef50473af5871ac", 1024),
    "Coordinator Training",
    1582829328965,
    v2={
        "id": 1024,
        "title": "Coordinator Training",
        "created": 1582829328965,
        "lesson_id": 1044,
        "included_trainings_id": [1025, 1026],
        "schedule_type": "rolling",
        "renewal_months": 12,
        "assigned_to_type": "limited",
        "is_highlighted": False,
        "notes": "These are internal notes about Coordinator Training.",
        "expires_on_month": None,
        "expires_on_day": None,
        "expiring_days": 14,
    },
)
_ZONE_MANAGER_TRAINING = Training(
    IdPair("5804f0f70ef50473af5871ad", 1035),
    "Zone Manager Training",
    1582829328966,
    v2={
        "id": 1035,
        "title": "Zone Manager Training",
        "created": 1582829328966,
        "renewal_months": 12,
        "assigned_to_type": "all",
        "is_highlighted": False,
    },
)

_TRAININGS = (
    _DRIVER_TRAINING,
    _LADDER_SAFETY,
    _FIRST_AID,
    _CRANE_OPERATION,
    _COORDINATOR_TRAINING,
    _ZONE_MANAGER_TRAINING,
)

_V1_GROUP = IdPair("5804f0f80ef50473af5875dc", 1012)
_V1_RECORDS = (
    Record(
        id=1013,
        user="5804f0f40ef50473af5870e6",
        training=_CRANE_OPERATION.ids,
        created=1476718840233,
        date_number=20190101,
        expiry=20191231,
        instructor="5804f0f40ef50473af58717c",
        group=_V1_GROUP,
    ),
    Record(
        id=1014,
        user="5804f0f40ef50473af5870e9",
        training=_CRANE_OPERATION.ids,
        created=1476718840234,
        date_number=20170101,
        instructor="5804f0f40ef50473af58717c",
        group=_V1_GROUP,
    ),
    Record(
        id=1015,
        user="5804f0f40ef50473af5870ec",
        training=_CRANE_OPERATION.ids,
        created=1476718840234,
        date_number=20150101,
        instructor="5804f0f40ef50473af58717c",
        group=_V1_GROUP,
    ),
)

_V2_GROUP = IdPair("5e580f11b780600088bd2e50", 1050)
_V2_RECORDS = (
    Record(
        id=1238,
        user="5e580f0cb780600088bd2c11",
        training=_LADDER_SAFETY.ids,
        created=1582830441803,
        date_number=20200227,
    ),
    Record(
        id=1236,
        user="5e580f0db780600088bd2ca6",
        training=_FIRST_AID.ids,
        created=1582829521694,
        date_number=20200227,
        expiry=20210101,
        instructor="5e580f0db780600088bd2ccd",
        group=_V2_GROUP,
    ),
    Record(
        id=1233,
        user="5e580f0db780600088bd2c43",
        training=_FIRST_AID.ids,
        created=1582829521693,
        date_number=20200227,
        instructor="5e580f0db780600088bd2ccd",
        group=_V2_GROUP,
    ),
)


def documented_account(
    *versions: Version, dialect: Dialect | None = None, now_ms: Callable[[], int] = system_now_ms
) -> Account:
    """Return an account with the completions that the documentation of these `versions` shows (none given: both).

    Each version of the API shows all completions of the account. With `Dialect(newer_fields=False)`, v2 shows only
    the fields of the older documented example.
    """
    account = Account(users=_USERS, trainings=_TRAININGS, dialect=dialect, now_ms=now_ms)
    examples = {Version.V1: _V1_RECORDS, Version.V2: _V2_RECORDS}
    for version in versions or Version:
        account.add_many(examples[version])
    return account


def build_account(records: int = 0, *, seed: int = 0) -> Account:
    """Return the account for `notifier sandbox`: a made-up account with this number of records.

    If `records` is 0, return an account with the documented examples instead.
    """
    return synthetic_account(records, seed=seed) if records else documented_account()
