"""The people and trainings that completion records refer to by id."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from notifier.sandbox.records import IdPair, Version

_ROLLING: Final = "rolling"
_DAY_MS: Final = 86_400_000
_LEAVER_DAYS_EMPLOYED: Final = 1500
_PEOPLE_PER_LEAVER: Final = 23

_JOBS = (
    "Crane Operator",
    "Driver",
    "Electrician",
    "Foreman",
    "Laborer",
    "Rigger",
    "Safety Manager",
    "Welder",
)
_FIELD_OFFICES: Final = 5
_LINES_OF_BUSINESS: Final = 3

JOB_TITLES: Sequence[Mapping[str, Any]] = tuple(
    {"id": f"5e580f0eb7806000{number:08x}", "title": title, "created": 1476718836000 + number}
    for number, title in enumerate(_JOBS, start=1)
)
"""The job titles of the account, as `jobtitles.list` shows them."""


class Training(Struct, frozen=True):
    """One training of the account."""

    ids: IdPair
    title: str
    created: int
    """The time of creation in Unix milliseconds."""
    renewal_months: int = 12
    expiring_days: int | None = 30
    v1: Mapping[str, Any] | None = None
    """The JSON object that version 1 of the API shows; None: it is made from the other fields."""
    v2: Mapping[str, Any] | None = None
    """The JSON object that version 2 of the API shows; None: it is made from the other fields."""

    def format_for(self, version: Version) -> Mapping[str, Any]:
        """Return the training in the format of `trainings.list` (v1) or `trainings.v2.list`."""
        if version is Version.V1:
            return self.v1 or {
                "id": self.ids.v1,
                "title": self.title,
                "created": self.created,
                "includedTrainings_id": [],
                "scheduleType": _ROLLING if self.renewal_months else None,
                "renewalMonths": self.renewal_months,
                "expiringDays": self.expiring_days,
                "assignedToType": "all",
                "isHighlightedOnEmployeeProfile": False,
            }
        return self.v2 or {
            "id": self.ids.v2,
            "title": self.title,
            "created": self.created,
            "schedule_type": _ROLLING if self.renewal_months else None,
            "renewal_months": self.renewal_months,
            "expiring_days": self.expiring_days,
            "assigned_to_type": "all",
            "is_highlighted": False,
        }


def make_user(user_id: str, firstname: str, lastname: str, *, number: int, created: int) -> dict[str, Any]:
    """Return a person in the format of `users.list`; `created` is in Unix milliseconds.

    `number` distinguishes people with the same name. It also decides the job, the field office and the line of
    business. One person in 23 has left the company.
    """
    username = f"{firstname[0]}{lastname}{number}".lower().replace("'", "")
    return {
        "id": user_id,
        "created": created,
        "firstname": firstname,
        "lastname": lastname,
        "employeeNumber": f"{lastname[:4].upper()}{number:04d}",
        "email": f"{username}.acme@example.com",
        "username": username,
        "hireDate": created,
        "role_id": "5804f0f30ef50473af5870ca",
        "jobTitle_id": JOB_TITLES[number % len(JOB_TITLES)]["id"],
        "fieldOffice_id": [f"5e580f0fb7806000{number % _FIELD_OFFICES + 1:08x}"],
        "lineOfBusiness_id": [f"5e580f10b7806000{number % _LINES_OF_BUSINESS + 1:08x}"],
        "clients_id": [],
        "metavalues": {},
        **({} if number % _PEOPLE_PER_LEAVER else {"terminationDate": created + _LEAVER_DAYS_EMPLOYED * _DAY_MS}),
    }
