import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.config import (
    ConfigError,
    DestinationSettings,
    HttpSettings,
    Settings,
    SlackSettings,
    SourceSettings,
    load,
)

Load = Callable[..., Settings]

SECRET = "5ecReT"
AROUND_A_SECRET = (
    "*",
    "* ",
    "two *",
    "*\n",
    "whsec_*",
    "https://user:*@example.com:99999/",
    "https://user:*@[example.com/*",
    "http://example.com/*?*#*",
    "https://example.com/*",
    "*5s",
    "*:80",
    "unix:*",
    "[*]:80",
    '["*"',
    '{"*": "*"}',
    "\udcff*",
)

secrets = st.sampled_from([shape.replace("*", SECRET) for shape in AROUND_A_SECRET])
sensible = st.sampled_from(["slack", "http", "v1", "notify", "5s", "https://example.com/x", "", "acme", "silent"])
scalars = st.one_of(secrets, sensible, st.none(), st.booleans(), st.integers(), st.floats())
keys = st.sampled_from([*HttpSettings.model_fields, *SlackSettings.model_fields, *SourceSettings.model_fields])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys | st.text(string.ascii_lowercase, max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


def records(model: type[SourceSettings | DestinationSettings]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for tables with known keys and arbitrary values."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(model.model_fields, values))


sources = st.dictionaries(st.sampled_from(["acme", "b", "C d"]), records(SourceSettings) | values, max_size=2)
destinations = st.dictionaries(
    st.sampled_from(["hr", "Slack"]), records(SlackSettings) | records(HttpSettings) | values, max_size=2
)
configurations = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(Settings.model_fields, values) | {"sources": sources, "destinations": destinations}
)


def problems_of(environ: dict[str, str]) -> str:
    """Return all text of the error of a wrong configuration, or an empty string if it is valid."""
    try:
        load(Path("/dev/null"), environ=environ)
    except ConfigError as error:
        wrong = error
    else:
        return ""
    assert len(str(wrong).splitlines()) == len(wrong.problems) > 0
    return f"{wrong} {wrong!r}"


@settings(max_examples=80, deadline=None)
@given(configurations)
def test_config_error_of_any_configuration_shows_no_secret(configuration: dict[str, Any]) -> None:
    environ = {f"NOTIFIER_{table.upper()}": json.dumps(content) for table, content in configuration.items()}
    assert SECRET not in problems_of(environ)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.builds(
            "NOTIFIER_{}__{}".format, st.sampled_from(["SOURCES__ACME", "DESTINATIONS__HR"]), keys.map(str.upper)
        ),
        secrets | sensible,
        max_size=6,
    )
)
def test_config_error_of_any_variable_shows_no_secret(environ: dict[str, str]) -> None:
    assert SECRET not in problems_of({"NOTIFIER_SOURCES__ACME__TOKEN": "t0ken"} | environ)


FULL = f"""
[http]
token = "{SECRET}"
[alerts]
heartbeat_url = "http://hc-ping.com/{SECRET}"
[sources.acme]
token = "{SECRET}"
[destinations.safety]
type = "slack"
url = "https://hooks.slack.com/services/{SECRET}"
[destinations.office]
type = "teams"
url = "https://example.com/workflows/{SECRET}?sig={SECRET}"
[destinations.phones]
type = "apprise"
url = "tgram://123456789:{SECRET}/{SECRET}"
[destinations.hr]
type = "http"
url = "http://user:{SECRET}@example.com/{SECRET}?{SECRET}"
secret = "whsec_{SECRET * 6}"
headers = {{ X-Key = "{SECRET}" }}
"""


@pytest.mark.parametrize("render", [repr, str, Settings.model_dump, Settings.model_dump_json, Settings.warnings])
def test_settings_output_shows_no_secret(render: Callable[[Settings], object], load_text: Load) -> None:
    said = str(render(load_text(FULL)))
    assert "hr" in said
    assert SECRET not in said


def test_proxy_is_a_secret_only_with_a_password() -> None:
    source = {"token": "t0ken", "proxy": "http://proxy.example:3128"}
    plain = Settings.model_validate({"sources": {"acme": source}})
    assert plain.secrets() == ("t0ken",)
    slack = {
        "type": "slack",
        "url": "https://hooks.slack.com/services/T/B/x",
        "proxy": f"http://someone:{SECRET}@proxy.example:3128",
    }
    settings_ = Settings.model_validate({"sources": {"acme": source}, "destinations": {"channel": slack}})
    assert SECRET in settings_.secrets()
    assert SECRET not in f"{settings_!r} {settings_.model_dump_json()}"


def test_token_that_looks_like_a_broken_url_is_a_secret(load_text: Load) -> None:
    assert load_text('[sources.acme]\ntoken = "x9://[Kq7"\n').secrets() == ("x9://[Kq7",)
