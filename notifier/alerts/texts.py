"""Stores the sentences of a condition as JSON, so that alerts can show them in any language. Pure functions."""

import orjson
from msgspec.structs import replace

from notifier.store.tables.conditions import StoredCondition
from notifier.wording.sentences import Sentence, to_document


def encode_sentences(summary: str, remedy: str = "") -> str:
    """Return two sentences as JSON for `StoredCondition.texts`; "" if both are plain text without translations."""
    if not isinstance(summary, Sentence) and not isinstance(remedy, Sentence):
        return ""
    return orjson.dumps({"summary": to_document(summary), "remedy": to_document(remedy)}).decode()


def with_end_summary(condition: StoredCondition, withdrawn: str = "") -> StoredCondition:
    """Return the condition with a summary that says that it has ended.

    If the condition is withdrawn, `withdrawn` is the reason, and the summary gives this reason instead.
    """
    if withdrawn:
        summary = Sentence("general.withdrawn", why=withdrawn, before=condition.summary)
    else:
        summary = Sentence("general.ended", before=condition.summary)
    if not condition.texts:
        return replace(condition, summary=str(summary))
    known, document = orjson.loads(condition.texts), summary.document()
    document["values"]["before"] = known["summary"]
    return replace(condition, summary=str(summary), texts=orjson.dumps({**known, "summary": document}).decode())
