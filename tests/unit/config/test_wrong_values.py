from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from notifier.config.webhook_secrets import problem_with_receiver_key

Problems = Callable[..., list[str]]

SOURCE = '[sources.acme]\ntoken = "t0ken"\n'
SLACK = '[destinations.safety]\ntype = "slack"\nurl = "https://hooks.slack.com/services/T/B/x"\n'
HTTP = '[destinations.hr]\ntype = "http"\nurl = "https://hr.example.com/hook"\n'
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

WRONG_SIGNATURE = [
    ('secret = "whsk_AAAA"', 'secret: must be "whsk_" and a private Ed25519 key of 32 or 64 bytes'),
    ('secret = "whpk_AAAA"', "secret: is a public key, which signs nothing"),
    (f'secret = "whsk_{"A" * 85}="', "secret: must be"),
    (f'secret = "whsk_{"A" * 86}=="', "secret: must be a private key whose two halves belong together"),
    (f'secret = ["{SECRET}", "whsk_A"]', 'secret: number 2 of the list must be "whsk_"'),
    ('signature_header = "X-Hub-Signature-256"', "signature_header: needs a `secret` that begins with whsec_"),
    (f'secret = "{SECRET}"\nsignature_header = "two words"', "signature_header: is not the name of an HTTP header"),
    (f'secret = "{SECRET}"\nsignature_header = "Webhook-Id"', "signature_header: is a header that the notifier sets"),
    (f'secret = "{SECRET}"\nsignature_header = "X-Key"\nheaders = {{ x-key = "a" }}', "signature_header: is also one"),
    ('batch_form = "message"', 'batch_form: is only for format = "standard"'),
    ('batch_form = "array"', 'batch_form: must be "events" or "message"'),
    ('origin = "https://notifier.example.com"', "origin: must be the name of a host"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG_SIGNATURE)
def test_wrong_signature_setting_is_reported(problems_of: Problems, keys: str, message: str) -> None:
    assert f"destinations.hr.{message}" in "\n".join(problems_of(f"{SOURCE}{HTTP}{keys}\n"))


WRONG_SOURCE = [
    ("proxy", '"socks5://proxy.example:1080"', "names a SOCKS proxy, which is not supported"),
    ("proxy", '"proxy.example:3128"', "must be a URL that begins with http:// or https://"),
    ("proxy", '"direct"', 'or "none" for no proxy'),
    ("proxy", '"http://us%3Aer:pw@proxy.example:3128"', "a user name without a colon"),
    ("proxy", "3128", "must be text in quotes"),
    ("ca_file", '"/no/such/file"', "names a file that cannot be read"),
    ("api", '"v3"', 'must be "v1" or "v2"'),
    ("api", "2", 'must be "v1" or "v2"'),
    ("base_url", '"http://api.example.com/v1"', "must begin with https://"),
    ("base_url", '"api.example.com"', "must be a URL"),
    ("base_url", '"ftp://api.example.com"', "must be a URL"),
    ("base_url", '"https://"', "must be a URL"),
    ("base_url", '"https://[::1"', "valid host and port"),
    ("base_url", '"https://example.com:99999/"', "valid host and port"),
    ("base_url", '"https://example.com/a b"', "without spaces"),
    ("base_url", '"https://api..example.com/"', "a valid host"),
    ("base_url", f'"https://{"x" * 64}.example.com/"', "a valid host"),
    ("base_url", '"https://api.exa%6dple.com/"', "a valid host"),
    ("base_url", '"https://xn--üü.example/"', "a valid host"),
    ("base_url", '"https://user:pw@example.com/v1"', "must not contain a user name or password"),
    ("base_url", '"https://example.com/v1?token=x"', "must end before any `?` or `#`"),
    ("base_url", "1", "must be text in quotes"),
    ("token", '""', "must not be empty"),
    ("token", '"two words"', "must be one word"),
    ("token", '"line\\n"', "must be one word"),
    ("token", '"t\u00f6ken"', "must be one word"),
    ("token", "41", "must be text in quotes"),
    ("poll_interval", "60", "a plain number has none"),
    ("poll_interval", '"60"', "one whole number and one unit"),
    ("poll_interval", '"0s"', "longer than zero"),
    ("sweep_interval", '"1 day"', "one whole number and one unit"),
    ("rate_limit_pause", '"-60s"', "one whole number and one unit"),
    ("timeout", "true", "one whole number and one unit"),
    ("page_size", "0", "must be at least 1"),
    ("page_size", "1001", "must be at most 1000"),
    ("page_size", "1.5", "must be a whole number"),
    ("page_size", '"many"', "must be a whole number"),
    ("page_size", "true", "must be a number"),
    ("page_size", "[]", "must be a whole number"),
    ("page_size", f"0x{'f' * 6000}", "must be"),
    ("requests_per_minute", "0", "must be at least 1"),
    ("requests_per_minute", "nan", "must be a number"),
    ("hold_removals_above", "0", "must be more than 0"),
    ("hold_removals_above", "1.001", "must be at most 1"),
    ("hold_removals_above", "5", "must be at most 1"),
    ("hold_removals_above", "nan", "must be a number"),
    ("hold_removals_above", "true", "must be a number"),
    ("hold_removals_above", '"5%"', "must be a number"),
    ("first_run", '"quiet"', '"silent", "notify", or a date'),
    ("first_run", '"2026-02-30"', "not a valid date"),
    ("first_run", '"20260101"', "or a date"),
    ("first_run", "2026-01-01T00:00:00Z", "or a date"),
    ("first_run", "true", "or a date"),
    ("names", '"perhaps"', "must be true or false"),
    ("names", "2", "must be true or false"),
    ("expiry", '"soon"', "must be true or false"),
    ("expiry", "true\nnames = false", "needs names = true"),
    ("expiry_dates", '"status"', 'must be "records" or "employee_status"'),
    ("expiry_dates", '"employee_status"\napi = "v1"', "only in v2 of the API"),
    ("expiring_within", "30", "a plain number has none"),
    ("expiring_within", '"0d"', "longer than zero"),
    ("person_fields", '"employee_number"', "must be a list"),
    ("person_fields[0]", '["employee_numbers"]', "did you mean `employee_number`?"),
    ("person_fields[0]", '["email"]', 'must be "employee_number"'),
    ("id_namespace", "1", "must be text in quotes"),
    ("id_namespace", '"a\\u0000b"', "one line of text"),
    ("training_id", '""', "must not be empty"),
    ("training_id", "true", "must be text in quotes"),
    ("user_id", '"a\\nb"', "one line of text"),
    ("has_attachments", '"perhaps"', "must be true or false"),
]
WRONG_SLACK = [
    ("url", '"http://hooks.slack.com/services/x"', "must begin with https://"),
    ("url", '""', "must be a URL"),
    ("url", "1", "must be text in quotes"),
    ("digest_above", "0", "must be at least 1"),
    ("events", '"completion.created"', "must be a list"),
    ("events[0]", '["completion.create"]', "did you mean `completion.created`?"),
    ("events[1]", '["completion.created", "notifier.alert"]', 'must be "completion.created"'),
    ("sources[0]", '["acne"]', "does not name a configured source; did you mean `acme`?"),
    ("sources", '"acme"', "must be a list"),
    ("training_ids[0]", '[""]', "must not be empty"),
    ("user_ids[0]", "[true]", "must be text in quotes"),
    ("trainings", '"Crane*"', "must be a list"),
    ("trainings[0]", '[""]', "must not be empty"),
    ("trainings[1]", '["Crane*", "!"]', 'after "!" stands what is excluded'),
    ("trainings[0]", '["a\\nb"]', "one line of text"),
    ("trainings[0]", f'["{"x" * 501}"]', "must not be longer than 500 characters"),
    ("people[0]", "[true]", "must be text in quotes"),
    ("job_titles", '["Rigger"]', 'needs "job_title" in person_fields of sources.acme'),
    ("field_offices", '["f1"]', 'needs "field_office_ids" in person_fields of sources.acme'),
    ("lines_of_business", '["b1"]', 'needs "line_of_business_ids" in person_fields of sources.acme'),
    ("concurrency", "0", "must be at least 1"),
    ("rate", "-1", "must be at least 0"),
    ("rate", "inf", "must be a number"),
    ("rate", "nan", "must be a number"),
    ("rate", "true", "must be a number"),
    ("rate", '"1/s"', "must be a number"),
    ("timeout", "15", "a plain number has none"),
    ("retry_first", '"5"', "one whole number and one unit"),
    ("retry_max", '"1s"', "must be at least as long as retry_first"),
    ("give_up_after", '"never"', "one whole number and one unit"),
]
WRONG_HTTP = [
    ("url", '"https://us%3Aer:pw@hr.example.com/"', "a user name without a colon"),
    ("url", '"https://user:p%0Aw@hr.example.com/"', "without control characters"),
    ("url", '"https://hr..example.com/"', "a valid host"),
    ("url", '"hr.example.com/hook"', "must be a URL"),
    ("url", '"mailto:hr@example.com"', "must be a URL"),
    ("secret", '"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"', 'must be "whsec_"'),
    ("secret", '"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!"', 'must be "whsec_"'),
    ("secret", '"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-"', 'must be "whsec_"'),
    ("secret", f'"{SECRET}!!!!"', 'must be "whsec_"'),
    ("secret", f'"{SECRET}----"', 'must be "whsec_"'),
    ("secret", '"whsec_c2hvcnQ="', "24 to 64 random bytes"),
    ("secret", f'"whsec_{"QUFB" * 22}"', "24 to 64 random bytes"),
    ("secret", "5", 'must be "whsec_"'),
    ("secret", f'["{SECRET}", "whsec_"]', "number 2 of the list"),
    ("format", '"json"', 'must be "cloudevents" or "standard"'),
    ("batch_size", "1001", "must be at most 1000"),
    ("batch_wait", "1", "a plain number has none"),
    ("headers", '"Authorization: x"', "must be a table"),
    ("headers.X-Key", '{ X-Key = "a\\r\\nHost: b" }', "one line of visible ASCII"),
    ("headers.X-Key", '{ X-Key = "a\\u0000" }', "one line of visible ASCII"),
    ("headers.X-Key", "{ X-Key = 1 }", "must be text in quotes"),
    ('headers."X-Key\\nHost"', '{ "X-Key\\nHost" = "x" }', "not the name of an HTTP header"),
    ('headers."X Key"', '{ "X Key" = "x" }', "not the name of an HTTP header"),
    ('headers.""', '{ "" = "x" }', "not the name of an HTTP header"),
    ("headers.webhook-id", '{ webhook-id = "x" }', "the notifier sets itself"),
    ("headers.Webhook-Signature", '{ Webhook-Signature = "x" }', "the notifier sets itself"),
    ("headers.Content-Type", '{ Content-Type = "x" }', "the notifier sets itself"),
    ("headers.content-length", '{ content-length = "1" }', "the notifier sets itself"),
    ("headers.HOST", '{ HOST = "x" }', "the notifier sets itself"),
    ("headers", '{ X-A = "1", x-a = "2" }', "must name each header once"),
    ("ca_file", '"missing.pem"', "cannot be read: No such file or directory"),
    ("ca_file", '"."', "cannot be read: Is a directory"),
    ("ca_file", "1", "must be the path of a file"),
    ("ca_file", f'"{"x" * 5000}"', "cannot be read: File name too long"),
    ("client_cert_file", '"missing.pem"', "cannot be read: No such file or directory"),
    ("client_key_file", '"config.toml"', "needs client_cert_file"),
]
WRONG_TEMPLATES = [
    ('"missing"', "names a folder that cannot be read: No such file or directory"),
    ('"config.toml"', "names a folder that cannot be read: Not a directory"),
    ("1", "must be the path of a folder"),
]
WRONG_ELSEWHERE = [
    ("store.path", "[store]\npath = 5", "must be the path of a file"),
    ("store.path", '[store]\npath = "postgresql://u:hush@h/d"', "write it as `url`"),
    ("store.path", f'[store]\npath = "/{"x" * 102}"', "must be a path of at most 102 bytes"),
    ("store.retention", "[store]\nretention = 90", "a plain number has none"),
    ("store", "store = 5", "must be a table"),
    ("log.level", '[log]\nlevel = "warn"', "did you mean `warning`?"),
    ("log.format", '[log]\nformat = ""', 'must be "auto", "text" or "json"'),
    ("http.listen", "[http]\nlisten = 8787", '"host:port"'),
    ("http.token", '[http]\nlisten = "0.0.0.0:8787"', "is required when `listen` lets other machines connect"),
    ("http.token", '[http]\nlisten = "[::]:8787"\ntoken = ""', "is required when"),
    ("http.token", '[http]\ntoken = "two words"', "must be one word"),
    ("http.token", '[http]\nlisten = "0.0.0.0:8787"\ntoken = "fifteen-letters"', "must have 16 characters or more"),
    ("http.anonymous", '[http]\nanonymous = "all"', "must be true or false"),
    ("http.anonymous", '[http]\nanonymous = true\ntoken = "x"', "cannot be combined with a `token`"),
    (
        "alerts.destination",
        '[alerts]\ndestination = "safty"',
        "does not name a configured destination; did you mean `safety`?",
    ),
    ("alerts.heartbeat_url", '[alerts]\nheartbeat_url = "hc-ping.com/x"', "must be a URL"),
    ("sources.beta", "[sources]\nbeta = 5", "must be a table"),
    (
        "sources.beta.token",
        "[sources.beta]",
        "is required; set it in the file, or as a variable or credential file NOTIFIER_SOURCES__BETA__TOKEN",
    ),
    ("sources.beta.has_attachments", '[sources.beta]\ntoken="x"\napi="v1"\nhas_attachments=true', "only in v2"),
    (
        "sources.beta.id_namespace",
        '[sources.beta]\ntoken="x"\nid_namespace="acme"',
        "the same event ids as source `acme`",
    ),
    ('sources."HR System"', '[sources."HR System"]\ntoken="x"', "did you mean `hr-system`?"),
    ("sources.a_b", '[sources.a_b]\ntoken="x"', "is not a valid name"),
    ("sources.a--b", '[sources.a--b]\ntoken="x"', "single hyphens"),
    ("sources.-a", '[sources.-a]\ntoken="x"', "is not a valid name"),
    ('sources.""', '[sources.""]\ntoken="x"', "is not a valid name"),
    ("destinations.Safety", '[destinations.Safety]\ntype="slack"\nurl="https://a/b"', "did you mean `safety`?"),
    ("destinations.x", "[destinations]\nx = 5", "must be a table"),
    (
        "destinations.x.type",
        '[destinations.x]\nurl = "https://a/b"',
        'is required: "slack", "teams", "apprise", "http"',
    ),
    ("destinations.x.type", '[destinations.x]\ntype = "slak"', "did you mean `slack`?"),
    ("destinations.x.type", "[destinations.x]\ntype = 5", 'must be "slack", "teams", "apprise", "http"'),
    ("destinations.x.type", '[destinations.x]\ntype = ["slack"]', 'must be "slack", "teams", "apprise", "http"'),
    ("destinations.x.url", '[destinations.x]\ntype = "http"', "is required"),
    (
        "destinations.x.headers.Authorization",
        '[destinations.x]\ntype="http"\nurl="https://u:p@a/b"\nheaders={authorization="x"}',
        "together with the user name in url",
    ),
]


def replaced(table: str, key: str, value: str) -> str:
    """Return the table with the value of the key replaced, or with the key added."""
    name = key.partition("[")[0].partition(".")[0]
    kept = [line for line in table.splitlines() if not line.startswith(f"{name} =")]
    return "\n".join([*kept, f"{name} = {value}\n"])


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG_SOURCE)
def test_wrong_source_value_is_reported(key: str, value: str, sentence: str, problems_of: Problems) -> None:
    (problem,) = problems_of(replaced(SOURCE, key, value))
    assert problem.startswith(f"sources.acme.{key}: ")
    assert sentence in problem


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG_SLACK)
def test_wrong_slack_value_is_reported(key: str, value: str, sentence: str, problems_of: Problems) -> None:
    (problem,) = problems_of(SOURCE + replaced(SLACK, key, value))
    assert problem.startswith(f"destinations.safety.{key}: ")
    assert sentence in problem


@pytest.mark.parametrize(("key", "value", "sentence"), WRONG_HTTP)
def test_wrong_http_value_is_reported(key: str, value: str, sentence: str, problems_of: Problems) -> None:
    (problem,) = problems_of(SOURCE + replaced(HTTP, key, value))
    assert problem.startswith(f"destinations.hr.{key}: ")
    assert sentence in problem


@pytest.mark.parametrize(("key", "text", "sentence"), WRONG_ELSEWHERE)
def test_wrong_value_of_another_table_is_reported(key: str, text: str, sentence: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f"{text}\n{SOURCE}{SLACK}")
    assert problem.startswith(f"{key}: ")
    assert sentence in problem


@pytest.mark.parametrize(("value", "sentence"), WRONG_TEMPLATES)
def test_templates_value_that_is_not_a_folder_is_reported(value: str, sentence: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f"{SOURCE}{SLACK}templates = {value}")
    assert problem.startswith("destinations.safety.templates: ")
    assert sentence in problem


@pytest.mark.parametrize("text", ["", "sources = {}", '[alerts]\ndestination = ""', "[sources]"])
def test_configuration_without_a_source_is_rejected(text: str, problems_of: Problems) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith("sources: at least one source is required")


def test_all_problems_are_reported_at_once_one_per_line(problems_of: Problems) -> None:
    problems = problems_of(
        'colour = 1\n[log]\nlevel = "loud"\n[alerts]\ndestination = "nobody"\n'
        f'{SOURCE}page_size = 0\npol_interval = "1s"\n{SLACK}sources = ["acme", "beta"]\n',
        environ={"NOTIFIER_STORE__RETENTION": "90", "NOTIFIER_NONSENSE": "1"},
    )
    assert [problem.partition(": ")[0] for problem in problems] == [
        "NOTIFIER_NONSENSE",
        "store.retention",
        "log.level",
        "alerts.destination",
        "sources.acme.page_size",
        "sources.acme.pol_interval",
        "destinations.safety.sources[1]",
        "colour",
    ]


def test_all_conflicts_of_a_table_are_reported_at_once(problems_of: Problems) -> None:
    problems = problems_of(f'{SOURCE}{HTTP}retry_first = "7h"\nclient_key_file = "config.toml"')
    assert [problem.partition(": ")[0] for problem in problems] == [
        "destinations.hr.retry_max",
        "destinations.hr.client_key_file",
    ]


def test_unreadable_ca_file_is_reported(problems_of: Problems, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").symlink_to("ca.pem")
    (problem,) = problems_of(f'{SOURCE}{HTTP}ca_file = "ca.pem"')
    assert "cannot be read: Too many levels of symbolic links" in problem


@pytest.mark.skipif(find_spec("slixmpp") is not None, reason="the package that is to be missing is installed")
def test_missing_package_for_an_apprise_service_is_named(problems_of: Problems) -> None:
    text = '[sources.acme]\ntoken = "t"\n[destinations.x]\ntype = "apprise"\nurl = "xmpps://u:p@chat.example/topic"\n'
    (problem,) = problems_of(text)
    assert "pip install 'slixmpp>=1.16.0'" in problem


def test_ed25519_key_without_its_library_is_rejected(problems_of: Problems, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.config.webhook_secrets.find_spec", lambda _: None)
    key = "whsk_" + "A" * 43 + "="
    assert problems_of(f'{SOURCE}{HTTP}secret = "{key}"\n') == [
        "destinations.hr.secret: needs the library cryptography: pip install 'completion-notifier[ed25519]'"
    ]
    public = problem_with_receiver_key("whpk_" + "A" * 43 + "=")
    assert public is not None
    assert public.startswith("needs the library cryptography")
