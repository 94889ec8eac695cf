"""Creates completions for tests."""

from typing import Any, Final

import orjson

from notifier.events import Completion

LADDERS: Final = "1046"
DAVID: Final = "5e580f0cb780600088bd2c11"

_USUAL: Final = {
    "training_id": LADDERS,
    "user_id": DAVID,
    "completed_on": "2020-02-27",
    "expires_on": None,
    "recorded_at": 1_582_830_441_803,
    "instructor_id": None,
    "group_training_id": None,
    "notes": "",
    "has_attachments": False,
}


def completion(key: str = "1238", raw: bytes | None = None, **fields: Any) -> Completion:
    """Return a completion with default values, which `fields` replace. Its JSON is `raw`, or contains only the key."""
    return Completion(key=key, raw=orjson.dumps({"id": key}) if raw is None else raw, **(_USUAL | fields))
