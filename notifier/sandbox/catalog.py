"""The people and trainings that completion records refer to by id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifier.sandbox.records import Twin, Version


@dataclass(frozen=True, slots=True)
class Training:
    """One training of the account.

    `created` is in Unix milliseconds. If `v1` or `v2` is given, that version of the API shows it unchanged instead of
    an object made from the other fields.
    """

    ids: Twin
    title: str
    created: int
    renewal_months: int = 12
    v1: Mapping[str, Any] | None = None
    v2: Mapping[str, Any] | None = None

    def shown(self, version: Version) -> Mapping[str, Any]:
        """Return the training as `trainings.list` or `trainings.v2.list` would show it."""
        if version is Version.V1:
            return self.v1 or {
                "id": self.ids.v1,
                "title": self.title,
                "created": self.created,
                "includedTrainings_id": [],
                "renewalMonths": self.renewal_months,
                "assignedToType": "all",
                "isHighlightedOnEmployeeProfile": False,
            }
        return self.v2 or {
            "id": self.ids.v2,
            "title": self.title,
            "created": self.created,
            "renewal_months": self.renewal_months,
            "assigned_to_type": "all",
            "is_highlighted": False,
        }


def user(user_id: str, firstname: str, lastname: str, *, number: int, created: int) -> dict[str, Any]:
    """Return a person in the format of `users.list`; `number` distinguishes namesakes, `created` is in Unix ms."""
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
        "clients_id": [],
        "metavalues": {},
    }
