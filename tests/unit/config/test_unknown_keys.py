from collections.abc import Callable

import pytest

Problems = Callable[..., list[str]]

SOURCE = '[sources.acme]\ntoken = "t0ken"\n'
SLACK = '[destinations.safety]\ntype = "slack"\nurl = "https://hooks.slack.com/services/T/B/x"\n'
HTTP = '[destinations.hr]\ntype = "http"\nurl = "https://hr.example.com/hook"\n'


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        (f"[destination.hr]\n{SOURCE}", "destination", "destinations"),
        (f'[Store]\npath = "x"\n{SOURCE}', "Store", "store"),
        (f"[store]\nretain = 1\n{SOURCE}", "store.retain", "retention"),
        (f"[log]\nlevels = 1\n{SOURCE}", "log.levels", "level"),
        (f"[http]\nlisten_address = 1\n{SOURCE}", "http.listen_address", "listen"),
        (f"[alerts]\nheartbeat = 1\n{SOURCE}", "alerts.heartbeat", "heartbeat_url"),
        (f"{SOURCE}polling_interval = 1", "sources.acme.polling_interval", "poll_interval"),
        (f"{SOURCE}poll-interval = 1", "sources.acme.poll-interval", "poll_interval"),
        (f"{SOURCE}{SLACK}digest_over = 1", "destinations.safety.digest_over", "digest_above"),
        (f"{SOURCE}{HTTP}secrets = 1", "destinations.hr.secrets", "secret"),
        (f"{SOURCE}{HTTP}retry_min = 1", "destinations.hr.retry_min", "retry_max"),
        (f"{SOURCE}{HTTP}header = {{}}", "destinations.hr.header", "headers"),
    ],
)
def test_unknown_key_is_reported_with_the_nearest_one(text: str, key: str, nearest: str, problems_of: Problems) -> None:
    assert problems_of(text) == [f"{key}: unknown key; did you mean `{nearest}`?"]


def test_unknown_key_without_a_near_match_lists_all_known_keys(problems_of: Problems) -> None:
    assert problems_of(f"zzz = 1\n{SOURCE}") == [
        "zzz: unknown key; known: include, store, log, http, alerts, sources, destinations"
    ]


@pytest.mark.parametrize(
    ("text", "key", "types"),
    [
        (f'{SOURCE}{SLACK}secret = "x"', "destinations.safety.secret", '"http"'),
        (f"{SOURCE}{HTTP}digest_above = 5", "destinations.hr.digest_above", '"slack", "teams" or "apprise"'),
    ],
)
def test_key_of_another_destination_type_is_reported_with_that_type(
    text: str, key: str, types: str, problems_of: Problems
) -> None:
    assert problems_of(text) == [f"{key}: unknown key here: it belongs to the type {types}"]


def test_unknown_key_with_control_characters_is_reported_on_one_line(problems_of: Problems) -> None:
    assert problems_of(f'"a\\nb \\u001b[31m" = 1\n{SOURCE}') == [
        '"a\\nb \\u001b[31m": unknown key; known: include, store, log, http, alerts, sources, destinations'
    ]


@pytest.mark.parametrize("key", ["self", "model_config", "model_extra", "__class__", "_env_file", "settings_cls"])
def test_internal_names_of_pydantic_are_unknown_keys(key: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f"{key} = 1\n{SOURCE}")
    assert problem.startswith(f"{key}: unknown key")


def test_very_long_key_is_reported_as_unknown(problems_of: Problems) -> None:
    (problem,) = problems_of(f"{'k' * 100_000} = 1\n{SOURCE}")
    assert "unknown key" in problem


@pytest.mark.parametrize("above", ["", "sources.", "sources.acme.", "destinations.x."])
def test_deeply_nested_keys_are_reported(above: str, problems_of: Problems) -> None:
    assert problems_of(f"{above}{'.'.join('a' * 1500)} = 1")


@pytest.mark.parametrize(
    ("text", "key", "home"),
    [
        (f"{SOURCE}{SLACK}anonymous = true", "destinations.safety.anonymous", "[http]"),
        (f'{SOURCE}retention = "9d"', "sources.acme.retention", "[store]"),
        (f'poll_interval = "9s"\n{SOURCE}', "poll_interval", "[sources.NAME]"),
        (f'[http]\nheartbeat_url = ""\n{SOURCE}', "http.heartbeat_url", "[alerts]"),
        (f"[log]\nbatch_size = 9\n{SOURCE}", "log.batch_size", "[destinations.NAME]"),
    ],
)
def test_key_in_the_wrong_table_is_reported_with_its_own(text: str, key: str, home: str, problems_of: Problems) -> None:
    assert problems_of(text) == [f"{key}: unknown key here: it belongs in `{home}`"]


def test_source_key_directly_in_sources_is_reported_with_its_table(problems_of: Problems) -> None:
    (problem,) = problems_of('[sources]\ntoken = "t0ken"\n')
    assert problem.startswith("sources.token: is a key of a source: put it into a table [sources.NAME]")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("webhook", 'write type = "http"'), ("email", "mailto://"), ("Discord", "apprise"), ("msteams", '"teams"')],
)
def test_misnamed_destination_type_is_reported_with_advice(written: str, meant: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f'{SOURCE}[destinations.x]\ntype = "{written}"\nurl = "https://a/b"\n')
    assert problem.startswith('destinations.x.type: must be "slack", "teams", "apprise", "http"')
    assert meant in problem


@pytest.mark.parametrize(
    ("line", "slip"),
    [
        ("token = \u201ct0ken\u201d", "typographic quotes: use straight ones"),
        ("token = t0ken", "text must be in quotes"),
        ('path = "C:\\Users\\x"', "write a Windows path in single quotes"),
    ],
)
def test_common_toml_mistake_is_reported_with_its_correction(line: str, slip: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f"[sources.acme]\n{line}\n")
    assert "line 2, column " in problem
    assert slip in problem
