from datetime import date
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import aiohttp
import orjson
import pytest

from notifier.alerts.conditions import ConditionName
from notifier.config import SlackSettings
from notifier.config.errors import InvalidValue
from notifier.config.message_values import Language, _check_link, _check_mention
from notifier.destinations.registry import build
from notifier.destinations.sample import SampleKind, sample_events
from notifier.destinations.slack import SlackDestination
from notifier.messages.layout import lay_out, lay_out_listing
from notifier.messages.notices import alert_variables
from notifier.messages.phrasing import MessageContext, Phrasing
from notifier.messages.rich_text import Span, linked, parse_spans, plain_text, sanitize_line
from notifier.messages.templates import Templates
from tests.support.completion_types import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifier.store.tables.outbox import Delivery
    from tests.support.clocks import FakeClock
    from tests.support.destinations import MakeEvent

    Deliveries = Callable[..., list[Delivery]]

CHICAGO = Phrasing(zone=ZoneInfo("America/Chicago"))
SPANISH = Phrasing(Language.ES, ZoneInfo("America/Chicago"))


def test_phrasing_formats_days_and_local_times_without_milliseconds() -> None:
    assert CHICAGO.format_day(date(2020, 2, 7)) == "7 Feb 2020"
    assert SPANISH.format_day(date(2020, 8, 27)) == "27 ago 2020"
    text = "since 2026-11-21T05:45:09.123Z, until 2026-07-01T00:00:00Z"
    assert CHICAGO.localize_times(text) == "since 20 Nov 2026, 23:45 CST, until 30 Jun 2026, 19:00 CDT"
    assert CHICAGO.localize_times("9999-99-99T99:99:99Z and no time") == "9999-99-99T99:99:99Z and no time"


def test_record_url_escapes_values_and_is_empty_if_one_is_missing() -> None:
    pattern = Phrasing(link_pattern="https://kpa.example.com/{training_id}?r={key}")
    assert pattern.record_url({"training_id": "a/b c&d", "key": "1"}) == "https://kpa.example.com/a%2Fb%20c%26d?r=1"
    assert pattern.record_url({"training_id": None, "key": "1"}) == ""
    assert pattern.record_url({"training_id": "\ud800", "key": "1"}) == "https://kpa.example.com/%3F?r=1"
    assert CHICAGO.record_url({"key": "1"}) == ""


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("https://x.example.com/{training}", "unknown field {training}; did you mean `training_id`"),
        ("https://x.example.com/{", "must have fields in braces"),
        ("https://x.example.com/{0}", "unknown field {0}"),
        ("https://x.example.com/{key.__class__}", "unknown field"),
        ("javascript:alert({key})", "must be a URL"),
        ("https://me:secret@x.example.com/{key}", "must not contain a user name"),
    ],
)
def test_link_setting_rejects_a_wrong_pattern(pattern: str, problem: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        _check_link(pattern)
    assert problem in str(refused.value)


@pytest.mark.parametrize("markup", ["@here", "<!everybody>", "<https://x>", "<@U1> now", "<!subteam^s1>", ""])
def test_mention_setting_accepts_only_mentions_of_slack(markup: str) -> None:
    with pytest.raises(InvalidValue):
        _check_mention(markup)
    assert _check_mention("<!subteam^S1>") == "<!subteam^S1>"


def test_linked_text_becomes_a_span_with_a_url() -> None:
    marked = sanitize_line(f"see {linked('#1', 'https://x.example.com/1')} and {linked('#2', '')}")
    line = parse_spans(marked)
    assert line == (Span("see "), Span("#1", None, "https://x.example.com/1"), Span(" and #2"))
    assert plain_text(line) == "see #1 and #2"
    assert plain_text(line, with_urls=True) == "see #1 (https://x.example.com/1) and #2"
    assert plain_text(parse_spans("\u0004half a link\u0005")) == "half a link"


NOTICE: dict[str, Any] = {
    "condition": "source_failing",
    "state": "firing",
    "subject": "sources/acme",
    "subjects": ["sources/acme"],
    "summary": "acme: no poll has succeeded since 2026-11-21T17:00:00.000Z: see `notifier status`",
    "remedy": "`notifier poll acme` tries at once",
    "since": "2026-11-21T17:00:00.000Z",
}


def test_alert_variables_name_the_subject_once_and_contain_the_remedy() -> None:
    found = alert_variables(NOTICE, 200, CHICAGO)
    assert (found["name"], found["title"]) == ("acme", "cannot be read")
    assert found["details"].startswith("No poll has succeeded since 21 Nov 2026, 11:00 CST: see ")
    assert found["since"] == ""
    assert alert_variables({**NOTICE, "summary": "acme: nothing"}, 200, CHICAGO)["since"] == "21 Nov 2026, 11:00 CST"
    line = parse_spans(f"{found['details']} {found['remedy']}")
    assert [span.text for span in line if span.style == "code"] == ["notifier status", "notifier poll acme"]
    assert "`" not in plain_text(line)
    assert alert_variables({**NOTICE, "state": "resolved"}, 200)["remedy"] == ""
    assert alert_variables({**NOTICE, "remedy": "see `notifier status`"}, 200)["remedy"] == ""


def test_alert_variables_support_several_subjects_and_unknown_conditions() -> None:
    several = {**NOTICE, "subject": "sources", "subjects": ["sources/acme", "sources/beta"]}
    assert (alert_variables(several, 200)["name"], alert_variables(several, 200, SPANISH)["name"]) == (
        "several sources",
        "varias fuentes",
    )
    unknown = alert_variables({"condition": "moon_full", "subject": "clock"}, 200)
    assert (unknown["name"], unknown["title"], unknown["details"]) == ("", "moon full", "")
    assert alert_variables({"summary": "one ` alone", "subject": 7}, 200)["details"] == "One ' alone"


def test_every_condition_has_a_title_in_each_language() -> None:
    for condition in ConditionName:
        titles = {alert_variables({"condition": condition}, 200, phrasing)["title"] for phrasing in (CHICAGO, SPANISH)}
        assert len(titles) == 2
        assert condition.replace("_", " ") not in titles


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("kind", SampleKind)
@pytest.mark.parametrize("language", Language)
async def test_preview_shows_every_kind_of_message_in_each_language(
    name: str,
    kind: SampleKind,
    language: Language,
    session: aiohttp.ClientSession,
    clock: "FakeClock",
    deliveries: "Deliveries",
) -> None:
    table, url = TYPES[name]
    keys = {"language": language, "timezone": "UTC", "link": "https://x.example.com/{key}"}
    settings = table.model_validate({"type": name, "url": url, **keys})
    context = MessageContext("https://n.example.com", has_several_sources=True)
    destination: Any = build("there", settings, session, clock, context=lambda: context)
    count = 51 if kind is SampleKind.DIGEST else 3
    preview = await destination.preview(deliveries(*sample_events(kind, "acme", clock.now_ms(), count)))
    text = "\n".join(preview.lines)
    assert "notifier events" not in text
    assert ("acme" in text) == (kind is not SampleKind.DIGEST)
    body = preview.body.decode()
    match kind:
        case SampleKind.DIGEST:
            assert "https://n.example.com/events?destination=there" in body
        case SampleKind.ALERT:
            assert "`" not in text
        case _:
            assert "https://x.example.com/sample" in body
    spanish = {"created": "completadas", "updated": "modificados", "removed": "eliminados", "session": "sesión grupal"}
    if language is Language.ES and kind in spanish:
        assert spanish[kind] in text


async def test_slack_message_contains_only_mentions_from_the_configuration(
    session: aiohttp.ClientSession, clock: "FakeClock", make_event: "MakeEvent", deliveries: "Deliveries"
) -> None:
    mention = {"Crane*": "<!subteam^S1>", "*safety": "<@U1>", "crane": "<!here>", "*": "<!subteam^S1>"}
    settings = SlackSettings.model_validate(
        {"type": "slack", "url": "https://hooks.slack.com/services/T/B/x", "mention": mention}
    )
    destination = build("there", settings, session, clock)
    assert isinstance(destination, SlackDestination)
    events = [
        make_event(1, training_title="CRANE Operator <!channel>", user_name="<!here>"),
        make_event(2, training_title="Ladder Safety"),
    ]
    sent = orjson.loads((await destination.preview(deliveries(*events))).body)
    (block,) = sent["blocks"]
    elements = [piece for element in block["elements"] for piece in element["elements"]]
    flat = [piece for it in elements for piece in it.get("elements", [it])]
    called = [piece for piece in flat if piece["type"] not in {"text", "link"}]
    assert called == [{"type": "usergroup", "usergroup_id": "S1"}, {"type": "user", "user_id": "U1"}]
    assert "<" not in sent["text"]
    assert "subteam" not in sent["text"]
    quiet = orjson.loads((await destination.preview(deliveries(make_event(3, training_title=None)))).body)
    assert "usergroup" not in orjson.dumps(quiet).decode()


@pytest.mark.parametrize(
    ("phrasing", "lines"),
    [
        (CHICAGO, [" · first time", " · renewal", "", " · renewal for everyone", " (2): Ana, Ben (renewal)"]),
        (SPANISH, [" · primera vez", " · renovación", "", " · renovación para todos", " (2): Ana, Ben (renovación)"]),
    ],
    ids=["en", "es"],
)
def test_message_shows_first_time_or_renewal(make_event: "MakeEvent", phrasing: Phrasing, lines: list[str]) -> None:
    templates = Templates(None, lambda _: None, phrasing.language)

    def first_row(*events: Any) -> str:
        return lay_out(events, templates, digest=False, fits=lambda _: True, phrasing=phrasing)[0].text

    parts = (phrasing.format_day(date(2020, 2, 27)), " · #")
    for number, occasion in enumerate(["first", "renewal", None]):
        alone = first_row(make_event(1, occasion=occasion))
        assert alone.partition(parts[0])[2].partition(parts[1])[0] == lines[number]
    session = [make_event(n, occasion="renewal", group_training_id="7") for n in (1, 2)]
    assert first_row(*session).partition(parts[0])[2].startswith(lines[3])
    names = zip(("Ana", "Ben"), ("first", "renewal"), strict=True)
    listed = [
        make_event(n, user_id=name, user_name=name, occasion=occasion) for n, (name, occasion) in enumerate(names, 1)
    ]
    rows = lay_out_listing(listed, templates, by_person=False, fits=lambda _: True, phrasing=phrasing)
    assert rows[1].text.endswith(lines[4])
