"""`notifier check`: what is configured, and what the tokens can read."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from notifier.cli.renamed_sources import rename_sentences
from notifier.clock import SystemClock
from notifier.config import load
from notifier.destinations.webhook.signature import public_key
from notifier.sandbox import (
    TRAFFIC,
    Dialect,
    RateLimit,
    Token,
    build_account,
    documented_account,
    make_app,
    serve,
)
from notifier.store.file.store import FileStore
from notifier.store.tables import sources
from tests.support.proxies import (
    AUTHORIZATION,
    CREDENTIALS,
    PASSWORD,
    ForwardProxy,
    forward_proxy,
    no_proxy_variables,
)

__all__ = ["forward_proxy", "no_proxy_variables"]

if TYPE_CHECKING:
    from tests.support.command_line import Api, CommandOutput, Home

SLACK = '[destinations.channel]\ntype = "slack"\nurl = "https://hooks.slack.com/services/T0/B0/xyz"\n'


def row(said: "CommandOutput", source: str = "acme") -> list[str]:
    """Return the row of a source in the last table."""
    return [line for line in said.lines if line.startswith(f"{source} ")][-1].split()


def through(home: "Home", proxy: ForwardProxy) -> None:
    """Let the source go through a proxy."""
    proxied = f'[sources.acme]\nproxy = "{proxy.url_with_credentials}"'
    home.config.write_text(home.config.read_text().replace("[sources.acme]", proxied))


async def test_check_shows_the_configuration_without_secrets(home: "Home") -> None:
    home.configure("https://api.kpaehs.com/v1", more='secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n' + SLACK)
    said = await home.call("check")
    assert said.code == 0
    assert said.lines[:2] == [f"configuration  {home.config}", f"state file     {home.state_file}"]
    assert row(said) == ["acme", "v2", "https://api.kpaehs.com/...", "100ms", "silent"]
    assert row(said, "channel") == ["channel", "slack", "https://hooks.slack.com/...", "created", "all", "immediately"]
    assert "The configuration is valid, with 1 warning." in said.out
    for secret in ("sandbox", "whsec", "xyz"):
        assert secret not in said.out + said.err


async def test_check_shows_when_messages_are_sent(home: "Home") -> None:
    times = (
        'schedule = "daily 08:00"\ntimezone = "America/Chicago"\nquiet_hours = "20:00-06:00"\nquiet_days = ["sat"]\n'
    )
    home.configure(
        "https://api.kpaehs.com/v1", more='secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n' + SLACK + times
    )
    said = await home.call("check")
    (line,) = [line for line in said.lines if line.startswith("channel ")]
    assert line.endswith("daily 08:00; not 20:00-06:00; not sat; America/Chicago")
    (document,) = (await home.call("check", "--json")).documents
    assert document["destinations"]["hr"]["when"] == "immediately"


async def test_check_shows_only_the_scheme_of_an_apprise_url(home: "Home") -> None:
    home.configure(more='[destinations.phones]\ntype = "apprise"\nurl = "tgram://123456789:AbCdEfGhIj/12345/"\n')
    said = await home.call("check")
    assert said.code == 0
    assert row(said, "phones") == ["phones", "apprise", "tgram://...", "created", "all", "immediately"]
    assert not any(secret in said.out + said.err for secret in ("123456789", "AbCdEfGhIj", "12345"))


async def test_check_with_an_unknown_apprise_url_exits_78(home: "Home") -> None:
    home.configure(more='[destinations.phones]\ntype = "apprise"\nurl = "unheard-of://AbCdEfGhIj"\n')
    said = await home.call("check")
    assert said.code == 78
    assert "destinations.phones.url: must be a URL that apprise understands" in said.err
    assert "AbCdEfGhIj" not in said.out + said.err


async def test_check_with_warnings_exits_0(home: "Home") -> None:
    home.configure(hr="http://example.com/hook")
    said = await home.call("check")
    assert said.code == 0
    assert "Warning: destinations.hr.url: is http://" in said.out
    assert "with 3 warnings" in said.out


async def test_check_strict_with_warnings_exits_78(home: "Home") -> None:
    home.configure(hr="http://example.com/hook")
    said = await home.call("check", "--strict")
    assert said.code == 78
    assert "Warning: destinations.hr.url: is http://" in said.out
    assert said.err == "Error: 3 warnings, which --strict makes an error\n"


async def test_check_json_lists_errors_and_warnings_separately(home: "Home") -> None:
    home.configure(hr="http://example.com/hook")
    (document,) = (await home.call("check", "--json")).documents
    assert document["errors"] == []
    assert [warning.partition(":")[0] for warning in document["warnings"]] == [
        "sources.acme.requests_per_minute",
        "destinations.hr.url",
        "destinations.hr.secret",
    ]
    home.config.write_text(home.config.read_text().replace("token", "tokn"))
    said = await home.call("check", "--json")
    assert said.code == 78
    (document,) = said.documents
    assert document["errors"] == [
        (
            "sources.acme.token: is required; set it in the file, or as a variable or credential file"
            " NOTIFIER_SOURCES__ACME__TOKEN"
        ),
        "sources.acme.tokn: unknown key; did you mean `token`?",
    ]


async def test_check_online_shows_what_the_token_can_read(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    said = await home.call("check", "--online")
    assert said.code == 0
    assert row(said) == ["acme", "yes", "6", "2020-02-27", "7", "6", "direct"]
    assert not home.state_file.exists()


@pytest.mark.usefixtures("no_proxy_variables")
async def test_check_online_names_the_proxies_without_their_passwords(
    home: "Home", api: "Api", forward_proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward_proxy.wants = AUTHORIZATION
    monkeypatch.setenv("HTTPS_PROXY", "http://someone:of-the-variable@other.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "socks5://someone:of-the-variable@other.example:1080")
    home.configure(api.url, more=SLACK)
    through(home, forward_proxy)
    said = await home.call("check", "--online")
    assert said.code == 0
    assert f"{forward_proxy.address} (from proxy) for acme" in said.out
    assert "other.example:3128 (from HTTPS_PROXY) for channel" in said.out
    assert "Warning: HTTP_PROXY: is ignored: it names a SOCKS proxy" in said.out
    assert " ".join(row(said)[-4:]) == f"proxy {forward_proxy.address} (from proxy)"
    assert len(forward_proxy.heads) == 4
    (document,) = (await home.call("check", "--online", "--json")).documents
    assert document["sources"]["acme"]["proxy"] == forward_proxy.address
    assert document["sources"]["acme"]["online"]["proxy"] == forward_proxy.address
    assert document["destinations"]["channel"]["proxy"] == "other.example:3128"
    assert not any(word in f"{said.out}{said.err}{document}" for word in (PASSWORD, CREDENTIALS, "of-the-variable"))


@pytest.mark.parametrize("word", ["403 Forbidden", "407 Proxy Authentication Required"])
async def test_check_online_with_a_refusing_proxy_names_it_and_the_remedy(
    home: "Home", forward_proxy: ForwardProxy, word: str
) -> None:
    forward_proxy.refuses = f"HTTP/1.1 {word}\r\nContent-Length: 0\r\n\r\n".encode()
    home.configure("https://api.example.com/v1")
    through(home, forward_proxy)
    said = await home.call("check", "--online")
    assert said.code == 1
    assert "acme: the proxy on the way to the API refused the request; check the source's `proxy`" in said.err
    assert f"the proxy {forward_proxy.address} refused: {word}" in said.err
    assert PASSWORD not in said.err + said.out


async def test_check_online_counts_filter_matches_and_warns_of_unmatched_patterns(home: "Home", api: "Api") -> None:
    home.configure(api.url)
    text = home.config.read_text().replace("[destinations.hr]", 'person_fields = ["job_title"]\n[destinations.hr]', 1)
    home.config.write_text(text + 'trainings = ["*training", "!zone*", "Cranes"]\njob_titles = ["Driver", "Pilot"]\n')
    said = await home.call("check", "--online")
    assert said.code == 0
    assert ["hr", "3", "of", "6", "0", "of", "7"] in [line.split() for line in said.out.splitlines()]
    assert 'Warning: destinations.hr.trainings: "Cranes" matches nothing in the present lists' in said.out
    (document,) = (await home.call("check", "--online", "--json")).documents
    assert document["destinations"]["hr"]["online"] == {
        "trainings": {"matched": 3, "known": 6},
        "people": {"matched": 0, "known": 7},
        "unmatched": [
            {"key": "trainings", "pattern": "Cranes"},
            {"key": "job_titles", "pattern": "Driver"},
            {"key": "job_titles", "pattern": "Pilot"},
        ],
    }
    assert any("Cranes" in warning for warning in document["warnings"])
    nobody = "destinations.hr: its filters match none of the 7 people"
    assert next(warning for warning in document["warnings"] if "none of" in warning).startswith(nobody)
    assert (await home.call("check", "--online", "--strict")).code == 78


async def test_check_online_counts_the_records_of_v1_without_a_total(home: "Home") -> None:
    account = documented_account(dialect=Dialect(total=False))
    async with serve(make_app(account)) as url:
        home.configure(url)
        home.config.write_text(home.config.read_text().replace("[sources.acme]", '[sources.acme]\napi = "v1"'))
        said = await home.call("check", "--online")
    assert said.code == 0
    assert row(said)[2] == "6"


async def test_check_online_sends_only_four_requests_without_delay(home: "Home") -> None:
    app = make_app(build_account(500))
    async with serve(app) as url:
        home.configure(url)
        home.config.write_text(home.config.read_text().replace("60000", "1").replace('"100ms"', '"2m"'))
        began = time.monotonic()
        assert (await home.call("check", "--online")).code == 0
        assert time.monotonic() - began < 10
    assert app[TRAFFIC].requests == {"completedtrainings.v2.list": 2, "users.list": 1, "trainings.v2.list": 1}


async def test_check_online_reports_unreadable_records_of_the_newest_page(home: "Home") -> None:
    account = build_account(500)
    for record in [*account.records()][10:13]:
        account.edit(record.id, overrides={"date_number": "2026-11-20"})
    async with serve(make_app(account)) as url:
        home.configure(url)
        said = await home.call("check", "--online")
        (document,) = (await home.call("check", "--online", "--json")).documents
    assert said.code == 1
    assert "3 of the newest 100 records cannot be read, such as" in said.err
    assert "`date_number` should be a day" in said.err
    assert document["sources"]["acme"]["online"]["unreadable"] == 3


async def test_check_warns_of_events_that_wait_for_an_unconfigured_destination(home: "Home") -> None:
    await home.remember("David Ball", "Ann Lee", to=("former",))
    said = await home.call("check", "--strict")
    assert said.code == 78
    assert "Warning: 2 events wait for `former`, which is not configured" in said.out
    (document,) = (await home.call("check", "--json")).documents
    assert any("notifier deliveries move former OTHER" in warning for warning in document["warnings"])


async def test_check_warns_of_a_renamed_source_and_names_the_keys_to_set(home: "Home") -> None:
    await home.remember("David Ball")
    store = FileStore(home.state_file)
    await store.open()
    now_ms = SystemClock().now_ms()
    await store.run(sources.update, "acme", first_contact_ms=now_ms, last_success_ms=now_ms)
    await store.close()
    assert "have renamed" not in (await home.call("check")).out
    written = home.config.read_text().replace("[sources.acme]", "[sources.kpa]")
    home.config.write_text(written)
    told = (await home.call("check")).out
    day = f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%d}"
    assert "Warning: source `kpa` is new, and `acme` is no longer configured: if you have renamed it" in told
    assert f'`id_namespace = "acme"` and `first_run = "{day}"` in [sources.kpa]' in told
    renamed = load(home.config, environ={}, cwd=home.folder).sources
    assert [*rename_sentences(renamed, {"acme": now_ms}, now_ms + 8 * 86_400_000)] == [], "it left long ago"
    home.config.write_text(written.replace("[sources.kpa]", f'[sources.kpa]\nfirst_run = "{day}"'))
    assert "have renamed" not in (await home.call("check")).out


async def test_check_online_with_names_off_requests_no_names(home: "Home") -> None:
    app = make_app(documented_account())
    async with serve(app) as url:
        home.configure(url)
        home.config.write_text(home.config.read_text().replace("[sources.acme]", "[sources.acme]\nnames = false"))
        said = await home.call("check", "--online")
    assert row(said)[-3:] == ["-", "-", "direct"]
    assert app[TRAFFIC].requests == {"completedtrainings.v2.list": 2}


@pytest.mark.parametrize(
    ("token", "limit", "shown", "told"),
    [
        (Token("other"), None, ["no", "-", "-", "-", "-"], ["the API does not know the token"]),
        (Token("sandbox", active=False), None, ["no", "-", "-", "-", "-"], ["the token has been deactivated"]),
        (
            Token("sandbox", methods=frozenset({"completedtrainings.v2.list"})),
            None,
            ["yes", "6", "2020-02-27", "-", "-"],
            ["names of people: the token may not use", "names of trainings: the token may not use"],
        ),
        (Token("sandbox"), RateLimit(1), ["yes", "6", "2020-02-27", "-", "-"], ["the newest page: the customer's"]),
    ],
)
async def test_check_online_with_failing_requests_exits_1_and_reports_each(
    home: "Home", token: Token, limit: RateLimit | None, shown: list[str], told: list[str]
) -> None:
    app = make_app(documented_account(), tokens=[token], rate_limit=limit)
    async with serve(app) as url:
        home.configure(url)
        said = await home.call("check", "--online")
    assert said.code == 1
    assert row(said)[1:] == [*shown, "direct"]
    details = said.err.splitlines()[1:]
    assert len(details) == len(told)
    assert all(detail.startswith(f"  acme: {sentence}") for detail, sentence in zip(details, told, strict=True))


async def test_check_online_with_a_failing_source_still_shows_the_others(home: "Home", api: "Api") -> None:
    home.configure(api.url, more='[sources.broken]\nbase_url = "http://127.0.0.1:9/v1"\ntoken = "t"\n')
    said = await home.call("check", "--online")
    assert said.code == 1
    assert row(said)[1] == "yes"
    assert row(said, "broken")[1] == "no"
    assert said.err.startswith("Error: 1 problem found online:\n  broken: there was no connection to the API")


async def test_check_shows_the_public_key_of_a_private_key(home: "Home") -> None:
    private = "whsk_dGhlIHRoaXJ0eS10d28gYnl0ZXMgb2YgdGhlIHNlZWQ="
    home.configure(more=f'secret = "{private}"\n')
    said = await home.call("check")
    public = public_key(private)
    assert f"public key     {public} (of hr)" in said.out
    (document,) = (await home.call("check", "--json")).documents
    assert document["destinations"]["hr"]["public_keys"] == [public]
    assert private not in f"{said.out}{said.err}{document}"
    assert "dGhlIHRoaXJ0eS10d28" not in f"{said.out}{said.err}{document}"


async def test_check_tries_the_database_and_hides_its_password(home: "Home") -> None:
    home.configure()
    path = 'path = "notifier.db"'
    url = 'url = "postgresql://clerk:pa55word-of-it@127.0.0.1:1/completions"'
    written = home.config.read_text()
    assert path in written
    home.config.write_text(written.replace(path, url))
    said = await home.call("check")
    assert said.code == 1
    assert "pa55word-of-it" not in said.out + said.err
    assert 'database "completions" on 127.0.0.1, port 1, schema "notifier": it cannot be reached' in said.err


async def test_check_with_an_unreachable_database_still_reports_other_problems(home: "Home") -> None:
    home.configure(hr="http://example.com/hook")
    url = 'url = "postgresql://clerk@127.0.0.1:1/completions"'
    home.config.write_text(home.config.read_text().replace('path = "notifier.db"', url))
    said = await home.call("check", "--online")
    assert said.code == 1
    assert "Warning: destinations.hr.url: is http://" in said.out
    assert row(said)[1] == "no"
    first, *others = said.err.splitlines()
    assert "it cannot be reached" in first
    assert others[0] == "  1 problem found online:"
    assert others[1].startswith("  acme: there was no connection to the API")
    said = await home.call("check", "--json")
    (document,) = said.documents
    assert said.code == 1
    assert "it cannot be reached" in document["errors"][0]
    assert "destinations.hr.url" in {warning.partition(":")[0] for warning in document["warnings"]}
