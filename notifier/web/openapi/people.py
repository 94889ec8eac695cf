"""The OpenAPI description of the path that erases a person's data."""

from notifier.web.openapi.parts import (
    Subject,
    answer,
    complete,
    operation,
    or_null,
    ref,
    several,
    text,
    truth,
    whole,
    wish,
)

_TAG = "people"


def describe() -> Subject:
    """Return the description of this path and its schemas."""
    return Subject(
        {
            "/v1/people/forget": {
                "post": operation(
                    "forget",
                    "Erase a person's data from the state file",
                    {200: answer("What was erased, and what cannot be reached.", ref("PersonForgotten"))},
                    tag=_TAG,
                    description=(
                        "Events of the person go, with deliveries that still wait; removed records keep their key,"
                        " dates and fingerprint. Records that the account still has stay."
                    ),
                    body=ref("ForgetPerson"),
                    needs_body=True,
                    errors=(400, 404, 503),
                )
            }
        },
        {**_SCHEMAS},
    )


_SCHEMAS = {
    "ForgetPerson": wish(
        {
            "person": text("A user's id, an employee number, or the exact name."),
            "dry_run": truth("Only say who is meant; false where it is left out."),
        },
        "Whose data is to be erased.",
        required=("person",),
    ),
    "PersonForgotten": complete(
        {
            "people": several(
                complete(
                    {
                        "source": text("The source that knows the person."),
                        "id": text("The user's id there."),
                        "name": or_null(text("The name, where it was known.")),
                    }
                ),
                "Who was meant.",
            ),
            "dry_run": truth("Whether nothing was erased."),
            "events": whole("Events that were deleted."),
            "deliveries": whole("Their deliveries, also those that still waited."),
            "records": whole("Removed records whose content was erased."),
            "names": whole("Names that were deleted."),
            "living": whole("Records that the account still has, and that stay: remove them there first."),
            "unreached": several(text("A place."), "Where else the person's data may be."),
        }
    ),
}
