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
def test_a_url_that_apprise_does_not_understand_is_told_and_not_shown(
    url: str, problems_of: Problems, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    (problem,) = problems_of(f'{SOURCE}{APPRISE}"{url}"')
    assert problem.startswith("destinations.phones.url: must be a URL that apprise understands")
    assert SECRET not in f"{problem}{caplog.text}{capfd.readouterr()}"


@pytest.mark.parametrize("url", ["5", '["ntfy://example.com/topic"]'])
def test_it_is_one_url_in_quotes(url: str, problems_of: Problems) -> None:
    (problem,) = problems_of(f"{SOURCE}{APPRISE}{url}")
    assert problem == "destinations.phones.url: must be text in quotes"


def test_without_the_extra_all_else_works_and_what_needs_it_says_how_to_get_it() -> None:
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
