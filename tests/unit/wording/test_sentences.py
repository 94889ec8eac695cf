"""The catalogues of sentences about the notifier itself."""

import copy
import pickle
import re
from pathlib import Path
from string import Formatter
from typing import Any

import orjson
import pytest

import notifier
from notifier.alerts.conditions import ConditionName
from notifier.config.message_values import Language
from notifier.destinations.outcome import AttemptResult
from notifier.kpa.errors import ApiError, ApiErrorReason, error_of_answer, sentence_of
from notifier.kpa.rate_limiter import Priority
from notifier.store.tables.second_looks import LookKind
from notifier.wording.sentences import LANGUAGES, Sentence, catalogue, render_document, to_document

ENGLISH, SPANISH = catalogue("en"), catalogue("es")


def fields(text: str) -> set[tuple[str, bool]]:
    return {(name, bool(spec)) for _, name, spec, _ in Formatter().parse(text) if name is not None}


def test_each_language_of_messages_has_a_catalogue() -> None:
    assert set(Language) == LANGUAGES


def test_catalogue_texts_have_the_same_fields_and_commands_in_each_language() -> None:
    assert ENGLISH.keys() == SPANISH.keys()
    for name, text in ENGLISH.items():
        assert fields(text) == fields(SPANISH[name]), name
        commands, there = (
            {part.replace("OTRO", "OTHER") for part in re.findall("`([^`]+)`", it)} for it in (text, SPANISH[name])
        )
        assert commands - {"--silently"} <= there | {"--silently"}, name
        assert text.count("`") % 2 == SPANISH[name].count("`") % 2 == 0, name


def test_spanish_catalogue_has_no_untranslated_text() -> None:
    same = {name for name, text in ENGLISH.items() if SPANISH[name] == text}
    assert same == {"general.named", "general.detail", "general.error", "alerts_moved.condition", "source_failing.why"}


def test_catalogue_has_a_text_for_every_enum_member() -> None:
    wanted = {f"{name}.title" for name in ConditionName}
    wanted |= {f"attempt.{result}" for result in AttemptResult if result is not AttemptResult.DELIVERED}
    wanted |= {f"api.{reason}_{half}" for reason in ApiErrorReason for half in ("happened", "advice")}
    wanted |= {f"request.{priority.label}" for priority in Priority}
    wanted |= {f"count_unexplained.{kind}" for kind in LookKind}
    assert wanted <= ENGLISH.keys()


def test_catalogue_has_no_unused_text() -> None:
    source = "\n".join(file.read_text() for file in Path(notifier.__file__).parent.rglob("*.py"))
    families = tuple(re.findall(r'f"(\w+\.\w*)\{', source))
    unused = {
        name for name in ENGLISH if f'"{name}"' not in source and not name.startswith(families) and ".title" not in name
    }
    # The names of these conditions are in a variable.
    assert unused == {f"{name}.why" for name in ("count_failing", "sweep_failing", "names_unknown")}


@pytest.mark.parametrize(
    ("count", "english", "spanish"),
    [(1, "1 event waits", "1 evento"), (3012, "3,012 events wait", "3,012 eventos")],
)
def test_sentence_uses_singular_or_plural_by_the_number(count: int, english: str, spanish: str) -> None:
    one = Sentence("deliveries_orphaned.waiting", waiting=count, name="hr")
    assert one.startswith(f"{english} for `hr`")
    assert f"no está configurado: {spanish}:" in str(render_document(one.document(), "es"))


def test_render_document_translates_nested_sentences_but_not_quoted_text() -> None:
    why = Sentence("general.detail", text=Sentence("attempt.timeout"), detail="no answer {0} {why}")
    outer = Sentence("destination_behind.failing", why=why)
    assert outer == "no delivery succeeds at the moment: it did not answer in time (no answer {0} {why})"
    document = orjson.loads(orjson.dumps(to_document(outer)))
    assert render_document(document, "en") == outer
    assert (
        render_document(document, "es")
        == "por el momento ninguna entrega tiene éxito: no respondió a tiempo (no answer {0} {why})"
    )
    listed = Sentence("alerts_moved.nowhere", conditions=[Sentence("gap.title"), "x"])
    assert str(render_document(listed.document(), "es")).endswith(": puede faltar algún cambio; x")


@pytest.mark.parametrize(
    "document",
    [
        {},
        7,
        {"text": "moon.full", "values": {}},
        {"text": "general.named", "values": {"name": "acme"}},
        {"text": "general.named", "values": [1]},
        {"text": "deliveries_orphaned.waiting", "values": {"waiting": {"text": 1}, "name": "hr"}},
    ],
)
def test_render_document_returns_none_for_an_unknown_or_invalid_document(document: Any) -> None:
    assert render_document(document, "es") is None


def test_render_document_returns_none_for_too_deep_nesting() -> None:
    document: dict[str, Any] = {"text": "gap.title", "values": {}}
    for _ in range(20):
        document = {"text": "general.ended", "values": {"before": document}}
    assert render_document(document, "es") is None


def test_sentence_can_be_copied_and_pickled() -> None:
    one = Sentence("gap.overdue", since="2026-11-21T17:00:00Z")
    for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):  # noqa: S301 - what was just made
        assert (other, other.document()) == (one, one.document())


@pytest.mark.parametrize("reason", ApiErrorReason)
@pytest.mark.parametrize("detail", ["", "Connection refused"])
def test_sentence_of_restores_the_sentence_from_an_error_message(reason: ApiErrorReason, detail: str) -> None:
    message = ApiError(reason, detail).message
    sentence = sentence_of(reason, message)
    assert sentence == message
    told = str(render_document(to_document(sentence), "es"))
    assert told.startswith(SPANISH[f"api.{reason}_happened"])
    assert detail in told


def test_sentence_of_quotes_the_api_and_keeps_other_messages() -> None:
    error = error_of_answer("token_invalid", "Bad token", "secret")
    told = render_document(to_document(sentence_of(error.reason, error.message)), "es")
    assert str(told).endswith("(la API dice: Bad token)")
    assert sentence_of("token_invalid", "of an earlier version") == "of an earlier version"
    assert sentence_of("io_error", "disk full") == "disk full"
