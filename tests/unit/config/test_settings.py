import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from notifier.config import (
    ApiVersion,
    FirstRun,
    HttpFormat,
    HttpSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    Settings,
    SlackSettings,
    TcpAddress,
    UnixAddress,
)

Load = Callable[..., Settings]

SOURCE = '[sources.acme]\ntoken = "t0ken"\n'
OTHER_SOURCE = '[sources.beta]\ntoken = "0ther"\n'
EXPIRING = 'events = ["completion.created", "completion.expiring"]\n'
SLACK = '[destinations.safety]\ntype = "slack"\nurl = "https://hooks.slack.com/services/T/B/x"\n'
HTTP = '[destinations.hr]\ntype = "http"\nurl = "https://hr.example.com/hook"\n'
SIGNED = HTTP + 'secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n'
TEAMS = '[destinations.teams]\ntype = "teams"\nurl = "https://acme.webhook.office.com/webhookb2/x"\n'
SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "QUFB" * 8, "whsec_" + "QUFB" * 21 + "QQ")


def test_settings_have_the_documented_defaults(load_text: Load) -> None:
    settings = load_text(SOURCE + SLACK + HTTP)

    assert settings.store.retention == 90 * 86_400
    assert (settings.log.level, settings.log.format) == (LogLevel.INFO, LogFormat.AUTO)
    assert settings.http.listen == TcpAddress("127.0.0.1", 8787)
    assert settings.http.token.get_secret_value() == ""
    assert (settings.alerts.destination, settings.alerts.heartbeat_url.get_secret_value()) == ("", "")

    source = settings.sources["acme"]
    assert source.api is ApiVersion.V2
    assert source.base_url == "https://api.kpaehs.com/v1"
    assert (source.poll_interval, source.sweep_interval) == (60, 86_400)
    assert (source.rate_limit_pause, source.timeout) == (60, 30)
    assert (source.page_size, source.requests_per_minute) == (100, 30)
    assert source.hold_removals_above == 0.05
    assert source.first_run is FirstRun.SILENT
    assert source.names
    assert (source.training_id, source.user_id, source.has_attachments) == (None, None, None)

    slack, http = settings.destinations["safety"], settings.destinations["hr"]
    assert isinstance(slack, SlackSettings)
    assert isinstance(http, HttpSettings)
    assert slack.digest_above == 50
    assert (slack.events, slack.concurrency, slack.rate) == (("completion.created",), 1, 1)
    assert http.events == ("completion.created", "completion.updated", "completion.removed")
    assert (http.concurrency, http.rate) == (8, 0)
    assert (http.secret, http.headers, http.ca_file) == ((), {}, None)
    assert (http.format, http.batch_size, http.batch_wait) == (HttpFormat.CLOUDEVENTS, 1, 1)
    for destination in (slack, http):
        assert (destination.sources, destination.training_ids, destination.user_ids) == ((), (), ())
        assert (destination.timeout, destination.retry_first) == (15, 5)
        assert (destination.retry_max, destination.give_up_after) == (6 * 3_600, 3 * 86_400)


@pytest.mark.parametrize(
    ("written", "meaning"),
    [
        ('"silent"', FirstRun.SILENT),
        ('"notify"', FirstRun.NOTIFY),
        ('"2026-01-01"', date(2026, 1, 1)),
        ("2026-01-01", date(2026, 1, 1)),
    ],
)
def test_first_run_accepts_a_word_or_a_date(written: str, meaning: FirstRun | date, load_text: Load) -> None:
    assert load_text(f"{SOURCE}first_run = {written}").sources["acme"].first_run == meaning


def test_namespace_is_id_namespace_or_else_the_name_of_the_source(load_text: Load) -> None:
    settings = load_text(f'{SOURCE}[sources.new]\ntoken = "x"\nid_namespace = "old"')
    assert {name: source.namespace(name) for name, source in settings.sources.items()} == {"acme": "acme", "new": "old"}


def test_ids_written_as_numbers_become_text(load_text: Load) -> None:
    settings = load_text(f"{SOURCE}training_id = 1046\n{SLACK}user_ids = [1, '5e58']")
    assert settings.sources["acme"].training_id == "1046"
    assert settings.destinations["safety"].user_ids == ("1", "5e58")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1/", "http://localhost/v1", "http://[::1]:1/v1"])
def test_base_url_on_this_machine_may_use_http(url: str, load_text: Load) -> None:
    assert load_text(f'{SOURCE}base_url = "{url}"').sources["acme"].base_url == url.rstrip("/")


@pytest.mark.parametrize("secrets", [SECRETS[:1], SECRETS])
def test_webhook_secret_accepts_a_list_of_one_or_several(secrets: tuple[str, ...], load_text: Load) -> None:
    destination = load_text(f"{SOURCE}{HTTP}secret = {list(secrets)}").destinations["hr"]
    assert isinstance(destination, HttpSettings)
    assert tuple(secret.get_secret_value() for secret in destination.secret) == secrets


def test_webhook_secret_accepts_a_text(load_text: Load) -> None:
    destination = load_text(f'{SOURCE}{HTTP}secret = "{SECRETS[0]}"').destinations["hr"]
    assert isinstance(destination, HttpSettings)
    assert [secret.get_secret_value() for secret in destination.secret] == [SECRETS[0]]


@pytest.mark.parametrize(
    ("listen", "token", "meaning"),
    [
        ("", "", None),
        ("unix:/run/notifier.sock", "", UnixAddress(Path("/run/notifier.sock"))),
        ("0.0.0.0:80", "t0ken-of-16-chars", TcpAddress("0.0.0.0", 80)),  # noqa: S104 - an example, nothing listens
    ],
)
def test_http_listen_accepts_an_address_a_socket_or_nothing(
    listen: str, token: str, meaning: TcpAddress | UnixAddress | None, load_text: Load
) -> None:
    assert load_text(f'[http]\nlisten = "{listen}"\ntoken = "{token}"\n{SOURCE}').http.listen == meaning


def test_certificate_files_that_can_be_read_are_accepted(load_text: Load, tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    destination = load_text(
        f'{SOURCE}{HTTP}ca_file = "ca.pem"\nclient_cert_file = "cert.pem"\nclient_key_file = "key.pem"'
    ).destinations["hr"]
    assert isinstance(destination, HttpSettings)
    assert destination.ca_file == tmp_path / "ca.pem"
    assert destination.client_key_file == tmp_path / "key.pem"


def test_log_settings_are_frozen(load_text: Load) -> None:
    log = load_text().log
    for key in LogSettings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(log, key, getattr(log, key))


def test_settings_are_equal_only_for_the_same_configuration(load_text: Load) -> None:
    assert load_text(SOURCE) == load_text(SOURCE)
    assert load_text(SOURCE) != load_text(f"{SOURCE}page_size = 1")


def test_ordinary_configuration_gives_no_warnings(load_text: Load) -> None:
    assert load_text(SOURCE + SLACK + SIGNED).warnings() == ()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (SOURCE, "destinations: there are none"),
        (f"[http]\nanonymous = true\n{SOURCE}{SIGNED}", "http.anonymous: lets every user of this machine"),
        (
            f'[http]\nlisten = "0.0.0.0:80"\ntoken = "sixteen-or-more-"\n{SOURCE}{SIGNED}',
            "http.listen: lets other machines connect over plain HTTP",
        ),
        (SOURCE + SIGNED.replace("https:", "http:"), "destinations.hr.url: is http://"),
        (f"{SOURCE}{SIGNED}events = []", "destinations.hr.events: is empty"),
        (f"{SOURCE}requests_per_minute = 81\n{SIGNED}", "sources.acme.requests_per_minute: is more than"),
        (f'{SOURCE}poll_interval = "4s"\n{SIGNED}', "sources.acme.poll_interval: needs up to 30 of the 30"),
        (f'[alerts]\nheartbeat_url = "http://hc-ping.com/x"\n{SOURCE}{SIGNED}', "alerts.heartbeat_url: is http://"),
        (SOURCE.replace("t0ken", "...") + SIGNED, "sources.acme.token: is a placeholder"),
        (SOURCE.replace("t0ken", "${KPA_TOKEN}") + SIGNED, "sources.acme.token: is a placeholder"),
        (SOURCE.replace("t0ken", "your-api-token") + SIGNED, "sources.acme.token: is a placeholder"),
        (SOURCE.replace("t0ken", "<token>") + SIGNED, "sources.acme.token: is a placeholder"),
        (SOURCE.replace("t0ken", "'t0ken'") + SIGNED, "sources.acme.token: contains quotes at its beginning or end"),
        (SOURCE + SLACK.replace("T/B/x", "..."), "destinations.safety.url: contains a placeholder"),
        (SOURCE + SLACK.replace("T/B/x", "T00000000/B00000000/x"), "destinations.safety.url: contains a placeholder"),
        (SOURCE + SLACK.replace("hooks.slack.com", "example.com"), "destinations.safety.url: is not a Slack URL"),
        (
            SOURCE + SLACK.replace("T/B/x", "T/B"),
            "destinations.safety.url: is not the complete URL of an incoming webhook",
        ),
        (
            SOURCE + SLACK.replace("services/T/B/x", "triggers/T/1/x"),
            "destinations.safety.url: is not the complete URL of an incoming webhook",
        ),
        (SOURCE + TEAMS, "destinations.teams.url: is an Office 365 connector"),
        (SOURCE + HTTP, "destinations.hr.secret: is empty"),
        (
            SOURCE + HTTP + 'secret = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"\n',
            "destinations.hr.secret: has few different bytes",
        ),
        (
            SOURCE + TEAMS.replace("webhook.office.com", "example.com"),
            "destinations.teams.url: is not a URL of Microsoft's workflows",
        ),
        (f'{SOURCE}{SIGNED}training_ids = ["1046", "Ladder Safety"]', "destinations.hr.training_ids[1]: is a title"),
        (f'{SOURCE}training_id = "Ladder Safety"\n{SIGNED}', "sources.acme.training_id: is a title"),
        (f'{SOURCE}{SIGNED}trainings = ["!*"]', "destinations.hr.trainings: excludes everything"),
        (f'{SOURCE}{SIGNED}trainings = ["Crane*", "!crane*"]', "destinations.hr.trainings: excludes everything"),
        (f"{SOURCE}first_run = 2999-01-01\n{SIGNED}", "sources.acme.first_run: is in the future"),
        (f'{SOURCE}proxy = "http://u:hush@proxy.example.com:1/path"\n{SIGNED}', "sources.acme.proxy: has a path"),
        (
            f'{SOURCE}expiry_dates = "employee_status"\n{SIGNED}',
            "sources.acme.expiry_dates: has no effect without expiry = true",
        ),
        (f'{SOURCE}expiring_within = "60d"\n{SIGNED}', "sources.acme.expiring_within: has no effect without expiry"),
        (f"{SOURCE}expiry = true\n{SIGNED}", "sources.acme.expiry: is on, but no destination gets it"),
        (
            f"{SOURCE}expiry = true\n{OTHER_SOURCE}expiry = true\n{SIGNED}{EXPIRING}" + 'sources = ["beta"]\n',
            "sources.acme.expiry: is on, but no destination gets it",
        ),
        (SOURCE + SIGNED + EXPIRING, "destinations.hr.events: contains announcements about expiry, but none of its"),
        (
            f"{SOURCE}expiry = true\n{OTHER_SOURCE}{SIGNED}{EXPIRING}{SLACK}{EXPIRING}" + 'sources = ["beta"]\n',
            "destinations.safety.events: contains announcements about expiry, but none of its",
        ),
        (SOURCE + SOURCE.replace("acme", "beta") + SIGNED, "sources.beta.token: is the same as that of source `acme`"),
        (
            SOURCE + SLACK + SLACK.replace("safety", "other"),
            "destinations.other.url: is the same as that of destination `safety`",
        ),
    ],
)
def test_probable_mistake_gives_a_warning(text: str, warning: str, load_text: Load) -> None:
    (line,) = map(str, load_text(text).warnings())
    assert line.startswith(warning)


@pytest.mark.parametrize(
    "text",
    [
        SOURCE + SLACK.replace("T/B/x", "TTODO/BX/xxxxtoken"),
        SOURCE + HTTP + 'headers = { Authorization = "Bearer x" }',
        SOURCE + HTTP.replace("https://", "https://user:pass@"),
        SOURCE + 'training_id = "1"\n' + SOURCE.replace("acme", "beta") + 'training_id = "2"\n' + SIGNED,
        SOURCE + SLACK + SLACK.replace("safety", "other") + 'training_ids = ["1046"]',
        f"{SOURCE}first_run = 2020-01-01\n{SIGNED}",
        f'{SOURCE}expiry = true\nexpiring_within = "60d"\n{OTHER_SOURCE}{SIGNED}{EXPIRING}',
    ],
)
def test_value_that_only_resembles_a_mistake_gives_no_warning(text: str, load_text: Load) -> None:
    assert load_text(text).warnings() == ()


def test_ca_file_without_a_certificate_gives_a_warning(load_text: Load, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    text = f'{SOURCE}{SIGNED}ca_file = "{file}"'
    file.write_text("-----BEGIN PRIVATE KEY-----\n")
    (line,) = map(str, load_text(text).warnings())
    assert line.startswith("destinations.hr.ca_file: contains no certificate")
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert load_text(text).warnings() == ()


def test_poll_interval_that_leaves_a_fifth_of_the_requests_gives_no_warning(load_text: Load) -> None:
    assert load_text(f'{SOURCE}poll_interval = "5s"\n{SIGNED}').warnings() == ()


@pytest.mark.parametrize("share", ["1", "1.0", "0.000001"])
def test_hold_removals_above_accepts_any_share(share: str, load_text: Load) -> None:
    assert load_text(f"{SOURCE}hold_removals_above = {share}").sources["acme"].hold_removals_above == float(share)


def test_destination_only_for_alerts_gives_no_warning(load_text: Load) -> None:
    assert load_text(f'[alerts]\ndestination = "hr"\n{SOURCE}{SIGNED}events = []').warnings() == ()


def test_plain_http_on_this_machine_gives_no_warning(load_text: Load) -> None:
    assert load_text(SOURCE + SIGNED.replace("https://hr.example.com", "http://127.0.0.1:1")).warnings() == ()


def test_importing_config_loads_no_library_that_it_does_not_need() -> None:
    program = "import sys, notifier.config; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert {"pydantic", "pydantic_settings"} <= set(loaded)
    assert not {"aiohttp", "apscheduler", "click", "orjson", "rich", "sqlite_utils", "sqlite3"} & set(loaded)


def test_importing_config_builds_no_validator_of_a_table() -> None:
    program = "from notifier.config import HttpSettings, Settings as s; print(s.__pydantic_complete__, end=' ');"
    program += "s.model_validate({'sources': {'acme': {'token': 'x'}}});"
    program += "print(s.__pydantic_complete__, HttpSettings.__pydantic_complete__)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True", "False"]


def test_validation_builds_only_the_configured_destination_types() -> None:
    program = (
        "from notifier.config import Destination, Settings\n"
        "from notifier.config.introspection import table_classes\n"
        "destinations = {'hr': {'type': 'http', 'url': 'https://example.com/'}}\n"
        "Settings.model_validate({'sources': {'acme': {'token': 'x'}}, 'destinations': destinations})\n"
        "print(*[table.__name__ for table in table_classes(Destination) if table.__pydantic_complete__])"
    )
    built = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert built == ["HttpSettings"]
