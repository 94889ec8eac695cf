"""Users' templates that would never end or use up the memory: they do not block the program, and are reported."""

import asyncio
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import notifier
from notifier import process
from notifier.config import SlackSettings
from notifier.config.message_values import Language
from notifier.messages import bounded_rendering
from notifier.messages.bounded_rendering import BoundedRenderer, TemplateProblemError
from notifier.messages.notices import alert_variables as variables_of
from notifier.messages.renderer import MessageRenderer
from notifier.messages.template_check import problems
from notifier.messages.template_names import Template
from notifier.messages.templates import SHIPPED

if TYPE_CHECKING:
    from tests.support.destinations import MakeEvent

INNER = "{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
LOOPS = f"{{% for a in range(99999) %}}{INNER}{{% endfor %}}x"
ENDLESS = {
    "loops within loops": LOOPS,
    "a large number": "{% set a = 10 %}{{ a ** (a ** 9) }}",
    "a large number that is computed early": "{{ 10 ** (10 ** 9) }}",
    "a long text": "{{ 'x' | center(10 ** 10) }}",
    "a long list": "{{ range(99999) | list * 99999 }}",
    "sorted lists": "{% for a in range(9999) %}{% set b = range(99999) | sort %}{% endfor %}x",
}


@pytest.fixture
def bounded(request: pytest.FixtureRequest) -> Iterator[BoundedRenderer]:
    rendering = BoundedRenderer({**SHIPPED[Language.EN], "completed.j2": request.param}, seconds=0.5, start_seconds=5)
    yield rendering
    rendering.close()


@pytest.mark.parametrize("bounded", ENDLESS.values(), ids=ENDLESS, indirect=True)
def test_endless_template_is_stopped_and_not_rendered_again_at_once(bounded: BoundedRenderer) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateProblemError) as refused:
        bounded.lines(Template.COMPLETED, {})
    assert any(
        word in refused.value.problem.description for word in ("takes longer than", "memory", "Memory", "too long")
    )
    assert time.monotonic() - began < 20
    began = time.monotonic()
    with pytest.raises(TemplateProblemError):
        bounded.lines(Template.COMPLETED, {})
    assert time.monotonic() - began < 1.9


def test_rendering_process_imports_few_modules() -> None:
    program = "import sys, notifier.messages.rendering_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True).stdout
    assert {"jinja2", "notifier.messages.rendering"} <= {*loaded.split()}
    assert not {"pydantic", "orjson", "aiohttp", "notifier.config", "notifier.events"} & {*loaded.split()}


@pytest.mark.parametrize("bounded", [LOOPS], indirect=True)
def test_other_templates_render_after_one_was_stopped(bounded: BoundedRenderer) -> None:
    with pytest.raises(TemplateProblemError):
        bounded.lines(Template.COMPLETED, {})
    alert_variables = variables_of({"state": "resolved", "condition": "gap", "subject": "acme"}, 40)
    assert "missed" in bounded.lines(Template.NOTICE, alert_variables)[0]


@pytest.mark.parametrize("bounded", ["{{ person }}"], indirect=True)
def test_rendering_process_gets_no_secrets_runs_in_root_and_ends_at_close(
    bounded: BoundedRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_SOURCES__ACME__TOKEN", "secret")
    others = {*children()}
    assert bounded.lines(Template.COMPLETED, {"person": "half a \ud800"}) == ["half a \N{REPLACEMENT CHARACTER}"]
    (child,) = {*children()} - others
    environment = Path(f"/proc/{child}/environ").read_bytes()
    assert b"secret" not in environment
    assert Path(f"/proc/{child}/cwd").readlink() == Path("/")
    bounded.close()
    assert child not in children()


@pytest.mark.parametrize("bounded", ["{{ person }}"], indirect=True)
def test_rendering_process_that_cannot_start_is_reported_and_retried_after_a_pause(
    bounded: BoundedRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens when the package is being replaced, or the machine can start no more processes."""
    monkeypatch.setattr(bounded_rendering, "PAUSE_SECONDS", 0)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "path", [])
        broken.setattr(sys, "executable", getattr(sys, "_base_executable", ""))
        with pytest.raises(TemplateProblemError, match=r"the process .* has failed: .*No module named 'notifier'"):
            bounded.lines(Template.COMPLETED, {"person": "David"})
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nowhere/python")
        broken.setattr(bounded_rendering, "PAUSE_SECONDS", 0.5)
        with pytest.raises(TemplateProblemError, match=r"no process can be started for it: .*No such file"):
            bounded.lines(Template.COMPLETED, {"person": "David"})
    failed_at = time.monotonic()
    with pytest.raises(TemplateProblemError, match=r"no process can be started for it: .*No such file"):
        bounded.lines(Template.COMPLETED, {"person": "David"})
    while time.monotonic() - failed_at < 0.5:
        time.sleep(0.05)
    assert bounded.lines(Template.COMPLETED, {"person": "David"}) == ["David"]


@pytest.mark.parametrize("bounded", ["{{ person }}"], indirect=True)
def test_template_that_exceeded_the_time_limit_is_rendered_again_after_a_pause(
    bounded: BoundedRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {*children()}
    assert bounded.lines(Template.COMPLETED, {"person": "David"}) == ["David"]
    (child,) = {*children()} - others
    os.kill(int(child), signal.SIGSTOP)
    monkeypatch.setattr(bounded_rendering, "LIMIT_PAUSE_SECONDS", 0.5)
    for _ in range(2):
        with pytest.raises(TemplateProblemError, match=r"takes longer than"):
            bounded.lines(Template.COMPLETED, {"person": "David"})
    time.sleep(0.5)
    assert bounded.lines(Template.COMPLETED, {"person": "David"}) == ["David"]


@pytest.mark.parametrize("bounded", ["{{ person }}"], indirect=True)
def test_invalid_executable_name_is_reported_and_leaves_no_descriptor_open(
    bounded: BoundedRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/python\0")
    open_before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(TemplateProblemError, match=r"no process can be started for it: embedded null byte"):
        bounded.lines(Template.COMPLETED, {"person": "David"})
    assert len([*Path("/proc/self/fd").iterdir()]) == open_before


@pytest.mark.parametrize("bounded", ["{{ person }}"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_idle_rendering_process_that_is_killed_is_started_again(
    bounded: BoundedRenderer, number: signal.Signals
) -> None:
    others = {*children()}
    assert bounded.lines(Template.COMPLETED, {"person": "David"}) == ["David"]
    (child,) = {*children()} - others
    os.kill(int(child), number)
    os.waitid(os.P_PID, int(child), os.WEXITED | os.WNOWAIT)
    assert bounded.lines(Template.COMPLETED, {"person": "David"}) == ["David"]


@pytest.mark.parametrize(("number", "ends_for_good"), [(signal.SIGKILL, True), (signal.SIGTERM, False)])
def test_sigkill_during_rendering_disables_the_template_and_sigterm_does_not(
    number: signal.Signals, ends_for_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system sends SIGKILL when a template has used up the machine's memory; other signals come from people."""
    monkeypatch.setattr(bounded_rendering, "PAUSE_SECONDS", 0)
    texts = {"completed.j2": "{% if slow %}" + LOOPS + "{% endif %}" + "{{ person }}"}
    bounded = BoundedRenderer(texts, seconds=20)
    others = {*children()}
    assert bounded.lines(Template.COMPLETED, {"person": "David", "slow": False}) == ["David"]
    (child,) = {*children()} - others
    threading.Timer(0.2, os.kill, (int(child), number)).start()
    with pytest.raises(TemplateProblemError, match=f"by signal {number.value}"):
        bounded.lines(Template.COMPLETED, {"person": "David", "slow": True})
    if ends_for_good:
        with pytest.raises(TemplateProblemError, match=r"completed.j2: uses too much memory"):
            bounded.lines(Template.COMPLETED, {"person": "David", "slow": False})
    else:
        assert bounded.lines(Template.COMPLETED, {"person": "David", "slow": False}) == ["David"]
    bounded.close()


UNCOMPILABLE = {
    "a number that is too long for a text": "{{ 10 ** 5000 }}",
    "too deep": "{% for a in b %}" * 25 + "{% endfor %}" * 25,
    "too long an expression": "{{ 0" + "+1" * 3000 + " }}",
}


@pytest.mark.parametrize("bounded", UNCOMPILABLE.values(), ids=UNCOMPILABLE, indirect=True)
def test_template_that_cannot_be_compiled_does_not_affect_the_others(bounded: BoundedRenderer) -> None:
    others = {*children()}
    with pytest.raises(TemplateProblemError, match=r"completed\.j2"):
        bounded.lines(Template.COMPLETED, {})
    alert_variables = variables_of({"state": "resolved", "condition": "gap", "subject": "acme"}, 40)
    assert "missed" in bounded.lines(Template.NOTICE, alert_variables)[0]
    assert len({*children()} - others) == 1


MANY_WARNINGS = "".join(f"{{% if false %}}{{{{ {number}[1:2] }}}}{{% endif %}}\n" for number in range(1500)) + "x"


@pytest.mark.parametrize("bounded", [MANY_WARNINGS], indirect=True)
def test_compiler_warnings_do_not_stop_rendering(bounded: BoundedRenderer) -> None:
    assert bounded.lines(Template.COMPLETED, {})[-1].strip() == "x"


def test_module_search_path_omits_entries_that_no_variable_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/a", "relative", "", "/b:c", "/d\0", None, b"/e", Path("/f"), "/g"])
    assert process.module_search_path() == "/a:/g"


def test_rendering_process_finds_packages_through_the_sys_path_of_its_parent() -> None:
    """Some systems put packages into folders that only the program's own `sys.path` contains."""
    program = """
import sys
sys.path[:0] = sys.argv[1:]
from notifier.messages import bounded_rendering
from notifier.messages.bounded_rendering import BoundedRenderer
from notifier.messages.template_names import Template
print(BoundedRenderer({"completed.j2": "{{ person }}"}).lines(Template.COMPLETED, {"person": "David"}))
"""
    folders = [Path(notifier.__file__).parent.parent, sysconfig.get_path("purelib")]
    command = [getattr(sys, "_base_executable", sys.executable), "-I", "-c", program, *map(str, folders)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "['David']\n"


def children() -> list[str]:
    tasks = Path("/proc/self/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


async def test_endless_template_does_not_block_the_event_loop_and_shipped_one_is_used(
    tmp_path: Path, make_event: "MakeEvent", caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "completed.j2").write_text(LOOPS)
    settings = SlackSettings.model_validate(
        {"type": "slack", "url": "https://hooks.slack.com/services/T/B/x", "templates": str(tmp_path)}
    )
    renderer = MessageRenderer("safety", settings, lambda _: True)
    await renderer.prepare()
    longest = 0.0
    laying_out = asyncio.create_task(renderer.lay_out([make_event()]))
    while not laying_out.done():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - began)
    (row,) = await laying_out
    assert row.text.startswith("David Ball")
    assert longest < 1
    assert "takes longer than 2 s" in str([vars(record).get("detail") for record in caplog.records])


def test_template_check_finds_an_endless_template(tmp_path: Path) -> None:
    (tmp_path / "completed.j2").write_text(LOOPS)
    settings = SlackSettings.model_validate(
        {"type": "slack", "url": "https://hooks.slack.com/services/T/B/x", "templates": str(tmp_path)}
    )
    (found,) = problems({"safety": settings}, lambda _: lambda _: True)
    assert found.message == "completed.j2: takes longer than 2 s"
