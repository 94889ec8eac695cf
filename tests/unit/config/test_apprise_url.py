import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

SOURCE = '[sources.acme]\ntoken = "t0ken"\n'
APPRISE = '[destinations.phones]\ntype = "apprise"\nurl = '
SECRET = "AbCdEfGhIjKlMnOpQrSt"

Problems = Callable[..., list[str]]


@pytest.mark.parametrize(
    "url",
    [
        "phones",
        f"unheard-of://{SECRET}",
        f"https://ntfy.example.com/{SECRET}",
        "tgram://",
        f"tgram://{SECRET}",
        f"{SECRET}",
        "",
    ],
)
def test_invalid_apprise_url_is_reported_and_not_shown(
    url: str, problems_of: Problems, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    (problem,) = problems_of(f'{SOURCE}{APPRISE}"{url}"')
    assert problem.startswith("destinations.phones.url: must be a URL that apprise understands")
    assert SECRET not in f"{problem}{caplog.text}{capfd.readouterr()}"


@pytest.mark.parametrize("url", ["5", '["ntfy://example.com/topic"]'])
def test_apprise_url_that_is_not_text_is_rejected(url: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f"{SOURCE}{APPRISE}{url}")
    assert problem == "destinations.phones.url: must be text in quotes"


def test_missing_apprise_extra_is_reported_only_for_apprise_destinations() -> None:
    program = f"""
        import os, pkgutil, sys
        sys.modules["apprise"] = None
        import notifier
        for module in pkgutil.walk_packages(notifier.__path__, "notifier."):
            if module.name != "notifier.__main__":
                __import__(module.name)
        from notifier.config import ConfigError, load
        environ = {{
            "NOTIFIER_SOURCES__ACME__TOKEN": "t0ken",
            "NOTIFIER_DESTINATIONS__OFFICE": '{{"type": "teams", "url": "https://example.com/workflow"}}',
        }}
        assert set(load(environ=environ).destinations) == {{"office"}}
        try:
            load(environ=environ | {{
                "NOTIFIER_DESTINATIONS__PHONES": '{{"type": "apprise", "url": "tgram://{SECRET}/x"}}'
            }})
        except ConfigError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith(
        "destinations.phones.url: needs the library apprise: pip install 'completion-notifier[apprise]'"
    )
    assert SECRET not in done.stdout
