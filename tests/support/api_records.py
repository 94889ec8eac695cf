"""Records in the formats of both API versions: usual ones, and random ones for property tests."""

from typing import Any

from hypothesis import strategies as st

from notifier.kpa.versions import V2, RecordFormat

RECORD_V2 = {
    "id": 1238,
    "training_id": 1046,
    "m_user_id": "5e580f0cb780600088bd2c11",
    "created": 1582830441803,
    "date_number": 20200227,
    "special_expiration_date_number": 20210101,
    "m_instructor_id": "5e580f0db780600088bd2ccd",
    "group_training_id": 1050,
    "notes": "on paper",
    "signature": None,
    "files": [{"name": "card.jpg"}],
}
RECORD_V1 = {
    "user_id": "5804f0f40ef50473af5870e6",
    "training_id": "5804f0f70ef50473af5871ab",
    "created": 1476718840233,
    "dateNumber": 20190101,
    "specialExpirationDateNumber": 20191231,
    "instructor_id": "5804f0f40ef50473af58717c",
    "groupTraining_id": "5804f0f80ef50473af5875dc",
}


def example(version: RecordFormat) -> dict[str, Any]:
    """Return a usual record in the format of an API version."""
    return RECORD_V2 if version is V2 else RECORD_V1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
plausible_values: st.SearchStrategy[Any] = (
    st.integers(0, 10**13)
    | st.integers(1900, 2100).map(lambda year: year * 10000 + 1231)
    | st.integers(0, 10**13).map(str)
    | st.sampled_from(["5e580f0cb780600088bd2c11", "", None, []])
)


def records_of(version: RecordFormat) -> st.SearchStrategy[Any]:
    """Return a strategy for values in the place of a record: any JSON, and records with some odd values."""
    names = sorted(example(version))
    damaged = st.dictionaries(st.sampled_from(names), json_values | plausible_values, max_size=4)
    return json_values | damaged | damaged.map(lambda damage: example(version) | damage)
