"""Writes a condition's sentences as JSON, so that alerts can show them in another language. Pure."""

import orjson
from msgspec.structs import replace

from notifier.store.tables.conditions import StoredCondition
from notifier.wording.sentences import Sentence, part_of


def encode_sentences(summary: str, remedy: str = "") -> str:
    """Return the JSON of these sentences for `StoredCondition.texts`; "" if neither is from the catalogue."""
    if not isinstance(summary, Sentence) and not isinstance(remedy, Sentence):
        return ""
    return orjson.dumps({"summary": part_of(summary), "remedy": part_of(remedy)}).decode()


def with_end_summary(condition: StoredCondition, withdrawn: str = "") -> StoredCondition:
    """Return the condition with a summary saying that it has ended; `withdrawn` is the reason if it was withdrawn."""
    if withdrawn:
        summary = Sentence("general.withdrawn", why=withdrawn, before=condition.summary)
    else:
        summary = Sentence("general.ended", before=condition.summary)
    if not condition.texts:
        return replace(condition, summary=str(summary))
    known, document = orjson.loads(condition.texts), summary.document()
    document["values"]["before"] = known["summary"]
    return replace(condition, summary=str(summary), texts=orjson.dumps({**known, "summary": document}).decode())
