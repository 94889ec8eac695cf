"""Writes a condition's sentences as JSON, so that messages can show them in another language. Pure."""

import orjson
from msgspec.structs import replace

from notifier.store.tables.conditions import FiringCondition
from notifier.wording.sentences import Sentence, part_of


def texts_of(summary: str, remedy: str = "") -> str:
    """Return the JSON of these sentences for `FiringCondition.texts`; "" if neither is from the catalogue."""
    if not isinstance(summary, Sentence) and not isinstance(remedy, Sentence):
        return ""
    return orjson.dumps({"summary": part_of(summary), "remedy": part_of(remedy)}).decode()


def ended(life: FiringCondition, withdrawn: str = "") -> FiringCondition:
    """Return the condition with a summary saying that it has ended; `withdrawn` is the reason if it was withdrawn."""
    if withdrawn:
        summary = Sentence("general.withdrawn", why=withdrawn, before=life.summary)
    else:
        summary = Sentence("general.ended", before=life.summary)
    if not life.texts:
        return replace(life, summary=str(summary))
    known, document = orjson.loads(life.texts), summary.document()
    document["values"]["before"] = known["summary"]
    return replace(life, summary=str(summary), texts=orjson.dumps({**known, "summary": document}).decode())
