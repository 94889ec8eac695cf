import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from notifier.config import ConfigError, HttpSettings, Settings, keys_from_systemd, load, locate_state_file

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]

FILE = """
[sources.acme]
token = "from-file"
page_size = 10
[destinations.hr-system]
type = "http"
url = "https://hr.example.com/hook"
headers = { Authorization = "from-file", X-Other = "kept" }
"""


def endpoint(settings: Settings, name: str = "hr-system") -> HttpSettings:
    destination = settings.destinations[name]
    assert isinstance(destination, HttpSettings)
    return destination


def test_variables_precede_credential_files_then_the_file_then_defaults(load_text: Load, secrets_dir: Path) -> None:
    key = "NOTIFIER_SOURCES__ACME__TOKEN"

    assert load_text(FILE).sources["acme"].page_size == 10
    assert load_text(FILE).sources["acme"].poll_interval == 60
    assert load_text(FILE).sources["acme"].token.get_secret_value() == "from-file"

    (secrets_dir / key).write_text("from-credential\n")
    with_credential = load_text(FILE, secrets_dir=secrets_dir)
    assert with_credential.sources["acme"].token.get_secret_value() == "from-credential"
    assert with_credential.sources["acme"].page_size == 10

    with_variable = load_text(FILE, environ={key: "from-variable"}, secrets_dir=secrets_dir)
    assert with_variable.sources["acme"].token.get_secret_value() == "from-variable"
    assert with_variable.sources["acme"].page_size == 10


def test_variable_in_either_case_sets_a_key_of_a_name_with_a_hyphen(load_text: Load) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    for name in ("NOTIFIER_DESTINATIONS__HR_SYSTEM__SECRET", "notifier_destinations__hr_system__secret"):
        settings = load_text(FILE, environ={name: secret})
        assert [known.get_secret_value() for known in endpoint(settings).secret] == [secret]
        assert list(settings.destinations) == ["hr-system"]


def test_variable_for_one_header_keeps_the_others(load_text: Load) -> None:
    environ = {
        "NOTIFIER_DESTINATIONS__HR_SYSTEM__HEADERS__AUTHORIZATION": "Bearer new",
        "NOTIFIER_DESTINATIONS__HR_SYSTEM__HEADERS__X_API_KEY": "added",
    }
    headers = endpoint(load_text(FILE, environ=environ)).headers
    assert {name: value.get_secret_value() for name, value in headers.items()} == {
        "Authorization": "Bearer new",
        "X-Other": "kept",
        "X-Api-Key": "added",
    }


def test_variable_can_set_the_webhook_request_origin_header(load_text: Load) -> None:
    environ = {"NOTIFIER_DESTINATIONS__HR_SYSTEM__HEADERS__WEBHOOK_REQUEST_ORIGIN": "notifier.example"}
    assert "Webhook-Request-Origin" in endpoint(load_text(FILE, environ=environ)).headers


def test_lists_and_tables_in_variables_are_parsed_as_json(load_text: Load) -> None:
    settings = load_text(
        FILE,
        environ={
            "NOTIFIER_DESTINATIONS__HR_SYSTEM__EVENTS": '["completion.removed"]',
            "NOTIFIER_DESTINATIONS__HR_SYSTEM__TRAINING_IDS": '[1046, "1047"]',
            "NOTIFIER_DESTINATIONS__HR_SYSTEM__HEADERS": ' {"Authorization": "json"}',
            "NOTIFIER_SOURCES__BETA": '{"token": "b", "page_size": 5}',
            "NOTIFIER_LOG": '{"level": "debug"}',
        },
    )
    assert endpoint(settings).events == ("completion.removed",)
    assert endpoint(settings).training_ids == ("1046", "1047")
    assert endpoint(settings).headers["Authorization"].get_secret_value() == "json"
    assert settings.sources["beta"].page_size == 5
    assert settings.log.level == "debug"


def test_variable_for_a_key_precedes_one_for_its_table(load_text: Load) -> None:
    environ = {
        "NOTIFIER_SOURCES__ACME__PAGE_SIZE": "1",
        "NOTIFIER_SOURCES__ACME": '{"page_size": 2, "timeout": "2s"}',
        "NOTIFIER_SOURCES": '{"acme": {"page_size": 3, "timeout": "3s", "names": false}}',
    }
    acme = load_text(FILE, environ=environ).sources["acme"]
    assert (acme.page_size, acme.timeout, acme.names) == (1, 2, False)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("FALSE", False), ("1", True), ("no", False)])
def test_variable_accepts_several_notations_of_true_and_false(text: str, value: bool, load_text: Load) -> None:
    assert load_text(FILE, environ={"NOTIFIER_SOURCES__ACME__NAMES": text}).sources["acme"].names is value


def test_empty_variable_overrides_the_file(load_text: Load) -> None:
    assert (
        load_text('[http]\ntoken = "x"\n' + FILE, environ={"NOTIFIER_HTTP__TOKEN": ""}).http.token.get_secret_value()
        == ""
    )


def test_load_without_a_file_uses_only_variables(tmp_path: Path) -> None:
    environ = {
        "NOTIFIER_SOURCES__ACME__TOKEN": "x",
        "NOTIFIER_DESTINATIONS__SAFETY__TYPE": "slack",
        "NOTIFIER_DESTINATIONS__SAFETY__URL": "https://hooks.slack.com/services/T/B/x",
        "NOTIFIER_ALERTS__DESTINATION": "safety",
    }
    settings = load(environ=environ, cwd=tmp_path)
    assert list(settings.sources) == ["acme"]
    assert settings.alerts.destination in settings.destinations


def test_secrets_dir_precedes_the_credentials_of_systemd(tmp_path: Path, secrets_dir: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (secrets_dir / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("systemd")
    (other / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("other")
    environ = {"CREDENTIALS_DIRECTORY": str(secrets_dir)}

    assert load(environ=environ, cwd=tmp_path).sources["acme"].token.get_secret_value() == "systemd"
    settings = load(environ=environ, secrets_dir=Path("other"), cwd=tmp_path)
    assert settings.sources["acme"].token.get_secret_value() == "other"


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"t0ken", "t0ken"), (b"t0ken\n", "t0ken"), (b"t0ken\r\n", "t0ken")],
)
def test_trailing_newline_of_a_credential_is_stripped(
    content: bytes, value: str, load_text: Load, secrets_dir: Path
) -> None:
    (secrets_dir / "notifier_sources__acme__token").write_bytes(content)
    assert load_text(secrets_dir=secrets_dir).sources["acme"].token.get_secret_value() == value


def test_second_newline_of_a_credential_is_not_stripped(problems_of: Problems, secrets_dir: Path) -> None:
    (secrets_dir / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("t0ken\n\n")
    (problem,) = problems_of(secrets_dir=secrets_dir)
    assert problem.startswith("sources.acme.token: must be one word")
    assert problem.endswith(f"(from {secrets_dir}/NOTIFIER_SOURCES__ACME__TOKEN)")


def test_other_files_in_the_credentials_folder_are_ignored(load_text: Load, secrets_dir: Path) -> None:
    (secrets_dir / "database-password").write_bytes(b"\xff")
    (secrets_dir / "folder").mkdir()
    load_text(secrets_dir=secrets_dir)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NOTIFIER_SOURCES__ACME__TOKN", "unknown key; did you mean `NOTIFIER_SOURCES__ACME__TOKEN`?"),
        ("NOTIFIER_SOURCE__ACME__TOKEN", "unknown key; did you mean `NOTIFIER_SOURCES__ACME__TOKEN`?"),
        ("NOTIFIER_SOURCES_ACME_TOKEN", "unknown key; did you mean `NOTIFIER_SOURCES__NAME__TOKEN`?"),
        ("NOTIFIER_LOG_LEVEL", "unknown key; did you mean `NOTIFIER_LOG__LEVEL`?"),
        ("NOTIFIER_LOG__LEVEL__X", "unknown key; did you mean `NOTIFIER_LOG__LEVEL`?"),
        ("NOTIFIER_DESTINATIONS__HR_SYSTEM__DIGEST", "did you mean `NOTIFIER_DESTINATIONS__HR_SYSTEM__DIGEST_BY`?"),
        ("NOTIFIER_SOURCES__", "unknown key; did you mean `NOTIFIER_SOURCES`?"),
        ("NOTIFIER_", "two underscores between the levels"),
        ("NOTIFIER_QQQ", "variables are written like NOTIFIER_SOURCES__NAME__TOKEN"),
    ],
)
def test_unknown_variable_or_credential_file_is_reported_with_a_hint(
    name: str, message: str, problems_of: Problems, secrets_dir: Path
) -> None:
    (problem,) = problems_of(environ={name: "s3cr3t"})
    assert problem.startswith(f"{name}: ")
    assert message in problem

    (secrets_dir / name).write_text("s3cr3t")
    assert problems_of(secrets_dir=secrets_dir) == [f"{secrets_dir}/{problem}"]


KUBERNETES = {
    "NOTIFIER_SERVICE_HOST": "10.96.0.17",
    "NOTIFIER_SERVICE_PORT": "8787",
    "NOTIFIER_SERVICE_PORT_HTTP": "8787",
    "NOTIFIER_PORT": "tcp://10.96.0.17:8787",
    "NOTIFIER_PORT_8787_TCP": "tcp://10.96.0.17:8787",
    "NOTIFIER_PORT_8787_TCP_PROTO": "tcp",
    "NOTIFIER_PORT_8787_TCP_PORT": "8787",
    "NOTIFIER_PORT_8787_TCP_ADDR": "10.96.0.17",
    "NOTIFIER_WEB_SERVICE_HOST": "fd00::17",
    "NOTIFIER_WEB_PORT_53_UDP": "udp://[fd00::17]:53",
}


def test_variables_of_a_kubernetes_service_are_ignored(load_text: Load) -> None:
    assert load_text(environ=KUBERNETES) == load_text()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOTIFIER_PORT", "8787"),
        ("NOTIFIER_SERVICE_HOST", "kpa.example.com"),
        ("NOTIFIER_SERVICE_HOSTS", "10.96.0.17"),
        ("NOTIFIER_SERVICE__PORT", "8787"),
        ("NOTIFIER_PORT_TCP", "tcp://10.96.0.17:8787"),
        ("notifier_service_port", "8787"),
    ],
)
def test_variable_like_a_kubernetes_one_is_an_unknown_key(name: str, text: str, problems_of: Problems) -> None:
    (problem,) = problems_of(environ={name: text})
    assert problem.startswith(f"{name}: unknown key; ")


def test_variables_that_differ_only_in_case_are_rejected(problems_of: Problems) -> None:
    assert problems_of(environ={"NOTIFIER_LOG__LEVEL": "info", "notifier_log__level": "debug"}) == [
        "notifier_log__level: means the same key as NOTIFIER_LOG__LEVEL; remove one of them"
    ]


@pytest.mark.parametrize("text", ["[", '{"a": }', "[" * 100_000, f"[{'9' * 5000}]"])
def test_variable_with_invalid_json_is_rejected(text: str, problems_of: Problems) -> None:
    (problem,) = problems_of(environ={"NOTIFIER_DESTINATIONS": text})
    assert re.match("NOTIFIER_DESTINATIONS: (is not valid|cannot be read as) JSON", problem)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("NOTIFIER_SOURCES__ACME__PAGE_SIZE", "many", "sources.acme.page_size: must be a whole number"),
        ("NOTIFIER_SOURCES__ACME__POLL_INTERVAL", "60", "sources.acme.poll_interval: must be a duration, one whole"),
        (
            "NOTIFIER_DESTINATIONS__HR_SYSTEM__EVENTS",
            "completion.created",
            "destinations.hr-system.events: must be a list",
        ),
        (
            "NOTIFIER_DESTINATIONS__HR_SYSTEM__SOURCES",
            '["acme", "b"]',
            "destinations.hr-system.sources[1]: does not name",
        ),
        ("NOTIFIER_LOG", '{"level": "loud"}', "log.level: must be"),
        ("NOTIFIER_SOURCES__B", '{"tokn": "x", "token": "y"}', "sources.b.tokn: unknown key; did you mean `token`?"),
        ("NOTIFIER_SOURCES", "acme", "sources: must be a table"),
    ],
)
def test_wrong_value_of_a_variable_is_reported_with_key_and_variable(
    name: str, text: str, problem: str, problems_of: Problems
) -> None:
    (line,) = problems_of(FILE, environ={name: text})
    assert line.startswith(problem)
    assert line.endswith(f"(from {name})")


def test_wrong_value_of_the_file_is_reported_without_the_variable_for_its_table(problems_of: Problems) -> None:
    (line,) = problems_of(FILE + '[log]\nlevel = "loud"', environ={"NOTIFIER_LOG": '{"format": "json"}'})
    assert line.startswith("log.level: ")
    assert "NOTIFIER_LOG" not in line


@pytest.mark.parametrize("make_unreadable", [Path.mkdir, lambda file: file.symlink_to("missing")])
def test_unreadable_credential_file_is_reported(
    make_unreadable: Callable[[Path], Any], problems_of: Problems, secrets_dir: Path
) -> None:
    file = secrets_dir / "NOTIFIER_HTTP__TOKEN"
    make_unreadable(file)
    (problem,) = problems_of(secrets_dir=secrets_dir)
    assert problem.startswith(f"{file}: the credential file cannot be read: ")


def test_refused_credentials_folder_is_the_only_problem_reported(problems_of: Problems, secrets_dir: Path) -> None:
    """Without the secrets in it, every key that they set would be reported as missing."""
    (secrets_dir / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("t0ken")
    secrets_dir.chmod(0o777)
    (problem,) = problems_of("[sources.acme]", secrets_dir=secrets_dir)
    assert problem.startswith(f"{secrets_dir}: can be written by other users")


def test_variable_or_credential_of_a_removed_table_is_named(problems_of: Problems, secrets_dir: Path) -> None:
    leftover = secrets_dir / "NOTIFIER_DESTINATIONS__GATE__SECRET"
    leftover.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    (problem,) = problems_of(secrets_dir=secrets_dir)
    assert problem.startswith("destinations.gate.type: is required")
    assert problem.endswith(f"; only {leftover} mentions destinations.gate: remove it if it is left over")

    (problem,) = problems_of(environ={"NOTIFIER_SOURCES__BETA__PAGE_SIZE": "5"})
    assert problem.endswith(
        "; only NOTIFIER_SOURCES__BETA__PAGE_SIZE mentions sources.beta: remove it if it is left over"
    )

    (problem,) = problems_of(f'{FILE}[destinations.gate]\nurl = "https://x.example"', secrets_dir=secrets_dir)
    assert "left over" not in problem


def test_credential_file_that_is_not_utf_8_is_reported(problems_of: Problems, secrets_dir: Path) -> None:
    (secrets_dir / "NOTIFIER_HTTP__TOKEN").write_bytes(b"\xff\xfe")
    assert problems_of(secrets_dir=secrets_dir) == [
        f"{secrets_dir}/NOTIFIER_HTTP__TOKEN: the credential file is not UTF-8 text"
    ]


def test_missing_credentials_folder_is_reported(problems_of: Problems, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    expected = [f"{missing}: the folder of credential files cannot be read: No such file or directory"]
    assert problems_of(secrets_dir=missing) == expected
    assert problems_of(environ={"CREDENTIALS_DIRECTORY": str(missing)}) == expected


def test_variables_that_are_not_utf_8_are_reported(problems_of: Problems) -> None:
    values: Mapping[str, str] = {
        "NOTIFIER_SOURCES__ACME__TOKEN": "\udcff",
        "NOTIFIER_SOURCES__ACME__ID_NAMESPACE": "\udcff",
        "NOTIFIER_SOURCES__ACME__BASE_URL": "https://\udcff/",
        "NOTIFIER_SOURCES__ACME__USER_ID": "\udcff",
        "NOTIFIER_STORE__PATH": "\udcff",
    }
    assert len(problems_of(environ=values)) == len(values)
    assert all(problem.isascii() for problem in problems_of(environ={"NOTIFIER_\udcff\n": "x"}))


def test_relative_paths_start_at_the_file_or_the_working_directory(tmp_path: Path) -> None:
    folder, cwd = tmp_path / "etc", tmp_path / "work"
    folder.mkdir()
    cwd.mkdir()
    (folder / "ca.pem").touch()
    (cwd / "ca.pem").touch()
    file = folder / "notifier.toml"
    file.write_text(f'[store]\npath = "state.db"\n{FILE}ca_file = "ca.pem"\n')

    from_file = load(file, environ={}, cwd=cwd)
    assert from_file.store.path == folder / "state.db"
    assert endpoint(from_file).ca_file == folder / "ca.pem"

    environ = {
        "NOTIFIER_STORE": json.dumps({"path": "x.db"}),
        "NOTIFIER_DESTINATIONS__HR_SYSTEM__CA_FILE": "ca.pem",
    }
    from_variables = load(file, environ=environ, cwd=cwd)
    assert from_variables.store.path == cwd / "x.db"
    assert endpoint(from_variables).ca_file == cwd / "ca.pem"


def test_tilde_in_a_path_is_the_home_folder(load_text: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_text('[store]\npath = "~/state.db"\n' + FILE).store.path == Path("/home/somebody/state.db")


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/notifier", "HOME": "/h"}, "/var/lib/notifier/notifier.db"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a/notifier.db"),
        ({"XDG_STATE_HOME": "/h/state", "HOME": "/h"}, "/h/state/notifier/notifier.db"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/notifier/notifier.db"),
        ({"HOME": "/h"}, "/h/.local/state/notifier/notifier.db"),
    ],
)
def test_state_file_path_has_a_default(environ: dict[str, str], path: str, load_text: Load) -> None:
    assert load_text(environ=environ).store.path == Path(path)


def test_removed_working_directory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the working directory no longer exists"):
        load(environ={})
    monkeypatch.chdir(tmp_path)


def test_credential_with_the_prefix_of_systemd_is_read_without_it(load_text: Load, secrets_dir: Path) -> None:
    (secrets_dir / "notifier_NOTIFIER_SOURCES__ACME__TOKEN").write_text("its-own\n")
    # What SetCredential= gives where there is no folder.
    (secrets_dir / "notifier").write_text("none")
    settings = load_text("[sources.acme]\n", environ={"CREDENTIALS_DIRECTORY": str(secrets_dir)})
    assert settings.sources["acme"].token.get_secret_value() == "its-own"


def test_credential_with_and_without_the_prefix_is_rejected(problems_of: Problems, secrets_dir: Path) -> None:
    for name in ("NOTIFIER_SOURCES__ACME__TOKEN", "notifier_NOTIFIER_SOURCES__ACME__TOKEN"):
        (secrets_dir / name).write_text("t0ken")
    (problem,) = problems_of(secrets_dir=secrets_dir)
    assert "means the same key as" in problem


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the configuration of a service with its credentials beside it, and return the configuration file."""
    monkeypatch.setattr("notifier.config.paths.SYSTEM_FILE", tmp_path / "etc" / "config.toml")
    folder = tmp_path / "etc" / "globex"
    (folder / "credentials").mkdir(parents=True)
    (folder / "credentials" / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("the-services")
    (folder / "config.toml").write_text("[sources.acme]\n")
    return folder / "config.toml"


def test_credentials_beside_a_service_configuration_are_read_by_default(service: Path, secrets_dir: Path) -> None:
    assert load(service, environ={}).sources["acme"].token.get_secret_value() == "the-services"
    (secrets_dir / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("systemd")
    settings = load(service, environ={"CREDENTIALS_DIRECTORY": str(secrets_dir)})
    assert settings.sources["acme"].token.get_secret_value() == "systemd"


def test_default_state_file_of_a_service_configuration_is_that_of_the_service(
    service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.config.paths.STATE_ROOT", tmp_path / "lib")
    users = load(service, environ={"XDG_STATE_HOME": str(tmp_path / "home")}).store.path
    assert users == tmp_path / "home" / "notifier" / "notifier.db"
    (tmp_path / "lib" / "notifier-globex").mkdir(parents=True)
    of_service = tmp_path / "lib" / "notifier-globex" / "notifier.db"
    assert load(service, environ={}).store.path == of_service
    assert locate_state_file(service, environ={}) == of_service
    assert load(service, environ={"STATE_DIRECTORY": "/elsewhere"}).store.path == Path("/elsewhere/notifier.db")
    service.write_text('[store]\npath = "/named/state.db"\n[sources.acme]\n')
    assert load(service, environ={}).store.path == Path("/named/state.db")


def test_credentials_folder_beside_another_configuration_is_ignored(tmp_path: Path, secrets_dir: Path) -> None:
    (secrets_dir / "NOTIFIER_SOURCES__ACME__TOKEN").write_text("not meant")
    file = tmp_path / "config.toml"
    file.write_text("[sources.acme]\n")
    with pytest.raises(ConfigError):
        load(file, environ={})


def test_locate_state_file_does_not_need_the_credentials_of_the_service(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[store]\npath = "here.db"\n[sources.acme]\ntokem = 1\n')
    gone = {"CREDENTIALS_DIRECTORY": str(tmp_path / "gone")}
    assert locate_state_file(file, environ=gone) == tmp_path / "here.db"
    file.write_text("[sources.acme]\n")
    assert locate_state_file(file, environ={"STATE_DIRECTORY": "/var/lib/x"}) == Path("/var/lib/x/notifier.db")


@pytest.mark.parametrize("text", ["[store", "[store]\npath = 3\n"])
def test_locate_state_file_with_a_wrong_configuration_raises_config_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        locate_state_file(file, environ={})


def test_keys_from_systemd_returns_the_keys_of_its_credentials(secrets_dir: Path, tmp_path: Path) -> None:
    for name in (
        "notifier_NOTIFIER_SOURCES__ACME__TOKEN",
        "NOTIFIER_DESTINATIONS__HR_SYSTEM__SECRET",
        "NOTIFIER_X",
        "y",
    ):
        (secrets_dir / name).write_text("x")
    assert keys_from_systemd({"CREDENTIALS_DIRECTORY": str(secrets_dir)}) == (
        "destinations.hr-system.secret",
        "sources.acme.token",
    )
    assert keys_from_systemd({"CREDENTIALS_DIRECTORY": str(tmp_path / "gone")}) == ()
    assert keys_from_systemd({}) is None
