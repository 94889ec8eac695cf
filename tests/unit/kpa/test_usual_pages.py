"""Pages of the usual form: `skim` and `parse` return what full parsing returns, or None."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.events import fingerprints
from notifier.kpa import usual_pages
from notifier.kpa.errors import ApiError
from notifier.kpa.responses import parse_json
from notifier.kpa.usual_pages import NewestPage, UsualPage, parse, skim
from notifier.kpa.versions import V1, V2, RecordFormat, SkimmedRecords
from tests.support.api_records import RECORD_V1, RECORD_V2, records_of

SECOND = RECORD_V2 | {"id": 1239}


def body_of(*records: Any) -> bytes:
    return orjson.dumps({"ok": True, "completedtrainings": records, "paging": {"last_page": 3}})


def assert_as_parsed(page: UsualPage, body: bytes) -> None:
    """Check that the page equals the result of fully parsing the same answer."""
    document = parse_json(body)
    completions, bad = V2.parse(document["completedtrainings"])
    assert bad == []
    assert (page.size, page.paging) == (len(completions), document.get("paging"))
    if page.skimmed is None:
        assert page.completions == completions
        assert [completion.raw for completion in page.completions] == [completion.raw for completion in completions]
        return
    skimmed = page.skimmed
    assert skimmed.keys == [completion.key for completion in completions]
    assert skimmed.days == [completion.completed_on for completion in completions]
    assert skimmed.parse() == (completions, [])
    assert skimmed.parse_except(skimmed.keys[1:]) == completions[:1]
    assert [completion.raw for completion in skimmed.parse()[0]] == [completion.raw for completion in completions]


def skimmed_of(page: UsualPage) -> SkimmedRecords:
    assert page.skimmed is not None
    return page.skimmed


def test_skim_and_parse_return_none_for_a_repeated_id_or_unreadable_record() -> None:
    assert skim(body_of(RECORD_V2, SECOND), V2) is not None
    assert parse(body_of(RECORD_V2, SECOND), V2) is not None
    others: list[Any] = [RECORD_V2 | {"notes": "another"}, RECORD_V2 | {"id": "1238"}, None, [], {}]
    for other in others:
        assert skim(body_of(RECORD_V2, other), V2) is None
        assert parse(body_of(RECORD_V2, other), V2) is None
    for name in ("id", "training_id", "m_user_id", "date_number"):
        for value in ("\0", True, 1.5, 2**63):
            assert skim(body_of(RECORD_V2, SECOND | {name: value}), V2) is None
            assert parse(body_of(RECORD_V2, SECOND | {name: value}), V2) is None
    assert skim(body_of(RECORD_V1), V1) is None
    assert parse(body_of(RECORD_V1), V1) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"ok":true}',
        b'{"ok":false,"completedtrainings":[]}',
        b'{"ok":1,"completedtrainings":[]}',
        b'{"ok":true,"completedtrainings":{}}',
        b'{"ok":true,"completedtrainings":[]}x',
        body_of(RECORD_V2).replace(b"on paper", b"\xff"),
        body_of(RECORD_V2).replace(b"on paper", rb"\ud83d"),
    ],
)
def test_skim_and_parse_return_none_for_an_answer_without_a_readable_list(body: bytes) -> None:
    assert skim(body, V2) is None
    assert parse(body, V2) is None


@pytest.mark.parametrize("spelling", [{}, {"separators": (",", ":")}, {"indent": 2, "ensure_ascii": False}])
def test_skim_and_parse_accept_any_json_formatting(spelling: dict[str, Any]) -> None:
    document = {"ok": True, "completedtrainings": [RECORD_V2, SECOND | {"notes": "später"}], "paging": {"last_page": 3}}
    body = json.dumps(document, **spelling).encode()
    for page in (skim(body, V2), parse(body, V2)):
        assert page is not None
        assert_as_parsed(page, body)


def test_skim_returns_the_json_of_each_record_in_its_stored_form() -> None:
    for body in (body_of(RECORD_V2, SECOND), json.dumps(orjson.loads(body_of(RECORD_V2, SECOND))).encode()):
        page = skim(body, V2)
        assert page is not None
        assert skimmed_of(page).raws == [completion.raw for completion in V2.parse([RECORD_V2, SECOND])[0]]


def test_parse_except_with_a_record_nested_too_deeply_raises_api_error() -> None:
    deep = b"[" * 1100 + b"]" * 1100
    page = skim(body_of(RECORD_V2, SECOND | {"files": "deep"}).replace(b'"deep"', deep), V2)
    if page is not None:  # it depends on the version of Python
        with pytest.raises(ApiError):
            skimmed_of(page).parse_except([skimmed_of(page).keys[0]])


@given(st.lists(st.integers(1, 9).map(lambda number: RECORD_V2 | {"id": number}) | records_of(V2), max_size=4))
def test_skim_and_parse_return_the_same_as_full_parsing(records: list[Any]) -> None:
    body = body_of(*records)
    for page in (skim(body, V2), parse(body, V2)):
        if page is not None:
            assert_as_parsed(page, body)


def test_newest_page_skims_again_only_if_the_bytes_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def counted(body: bytes, version: RecordFormat) -> UsualPage | None:
        read.append(body)
        return skim(body, version)

    monkeypatch.setattr(usual_pages, "skim", counted)
    newest, body, other = NewestPage(V2), body_of(RECORD_V2), body_of(SECOND, RECORD_V2)
    for polled in (body, body, other, other, body):
        page, before = newest.skim(polled), len(read)
        assert page is not None
        skimmed = skimmed_of(page)
        assert (page.size, page.paging) == (len(skimmed.keys), {"last_page": 3})
        assert skimmed.fingerprints == fingerprints(skimmed.raws)
        assert_as_parsed(page, polled)
        del read[before:]
    assert read == [body, other, body]


def test_newest_page_returns_none_for_an_answer_that_cannot_be_skimmed() -> None:
    newest = NewestPage(V2)
    assert newest.skim(body_of(RECORD_V2)) is not None
    assert newest.skim(b"<html>") is None
    assert newest.skim(body_of(RECORD_V2, RECORD_V2)) is None
    page = newest.skim(body_of(RECORD_V2))
    assert page is not None
    assert_as_parsed(page, body_of(RECORD_V2))
    assert NewestPage(V1).skim(body_of(RECORD_V1)) is None


def test_parse_decodes_escaped_characters() -> None:
    body = body_of(RECORD_V2 | {"notes": "later"}).replace(b"later", rb"sp\u00e4ter")
    page = parse(body, V2)
    assert page is not None
    assert_as_parsed(page, body)
    assert page.completions[0].notes == "später"
