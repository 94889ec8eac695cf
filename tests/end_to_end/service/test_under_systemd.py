"""The service under a real systemd, with the unit that `notifier install-service` writes."""

import asyncio
import json
import time

from tests.end_to_end.service.conftest import ServiceEnvironment
from tests.support.systemd_machine import Machine, Service

NOTIFIER = "/opt/notifier/bin/notifier"
SHORT_WATCHDOG = "WatchdogSec=3s\n"


async def start_service(service: Service) -> None:
    done = await service.systemctl("start")
    assert done.returncode == 0, f"{done.stderr}\n{service.log}"


def has_restarted(service: Service) -> bool:
    return int(service.show("NRestarts")) > 0 and service.show("ActiveState") == "active"


async def test_service_is_installed_started_replaced_and_stopped(
    machine: Machine, environment: ServiceEnvironment
) -> None:
    said = machine.run(NOTIFIER, "install-service", "--now")
    assert said.returncode == 1
    assert "nothing was started: complete the configuration first" in said.stderr
    # A host name must be resolved, and a destination starts a process: the hardening allows both.
    port = environment.receiver.url.rpartition(":")[2]
    phones = f'[destinations.phones]\ntype = "apprise"\nurl = "json://127.0.0.1:{port}/slack"\n'
    configuration = environment.configuration("notifier", more=phones)
    machine.write("/etc/notifier/config.toml", configuration.replace(environment.api, environment.named_api))
    secrets = "/etc/notifier/credentials"
    machine.do("install", "-m", "0600", "/dev/stdin", f"{secrets}/NOTIFIER_SOURCES__ACME__TOKEN", given="sandbox\n")
    assert "The configuration is valid" in machine.do(NOTIFIER, "check")
    service = Service(machine, "notifier")
    told = await asyncio.to_thread(machine.do, NOTIFIER, "install-service", "--now")
    assert told.endswith("notifier: running, now and after every boot\n"), service.log
    assert service.show("UnitFileState") == "enabled"
    assert service.show("ActiveState") == "active"
    await service.until(lambda: service.show("StatusText") == "1 source ok, 2 destinations ok")

    news = environment.add_completions(3)
    await service.until(lambda: set(environment.receiver.subjects) == news and environment.receiver.slack != [])
    # Root runs commands without an option for the configuration.
    status = json.loads(machine.do(NOTIFIER, "status", "--json"))
    assert status["sources"]["acme"]["state"] == "ok"
    # The credentials of the running service belong to the service's user.
    assert "The configuration is valid" in machine.do(
        NOTIFIER, "check", "--secrets-dir", "/run/credentials/notifier.service"
    )

    # After an upgrade, the running service has to be replaced, even if its unit is the same.
    former = service.show("MainPID")
    await asyncio.to_thread(machine.do, NOTIFIER, "install-service", "--now")
    assert service.show("MainPID") not in {former, "0"}

    begun = time.monotonic()
    assert (await service.systemctl("stop")).returncode == 0
    assert time.monotonic() - begun < 15
    assert service.show("Result") == "success"
    assert "sandbox" not in service.log

    # After a command of root, the service still owns the state file.
    machine.do(NOTIFIER, "disable", "hr")
    await start_service(service)
    await service.until(lambda: "1 destination disabled (hr: 0 waiting)" in service.show("StatusText"))
    machine.do("systemctl", "disable", "--now", "notifier")


async def test_service_is_ready_after_its_first_poll_even_if_the_api_hangs(
    environment: ServiceEnvironment,
) -> None:
    service = environment.install_instance("ready", source='timeout = "2s"', unit=SHORT_WATCHDOG)
    environment.api_answers.clear()
    starting = asyncio.create_task(service.systemctl("start"))
    await service.until(lambda: service.show("StatusText") == "starting: waiting for the first round of acme")
    assert service.show("ActiveState") == "activating"
    assert (await starting).returncode == 0
    assert service.show("ActiveState") == "active"
    await service.until(lambda: service.show("StatusText") == "1 source failing (acme), 1 destination ok")
    environment.api_answers.set()
    await service.until(lambda: service.show("StatusText") == "1 source ok, 1 destination ok")


async def test_killed_service_restarts_and_loses_and_doubles_no_event(environment: ServiceEnvironment) -> None:
    service = environment.install_instance("killed")
    await start_service(service)
    before = environment.add_completions(20)
    await service.until(lambda: len(environment.receiver.events) > 3)
    await service.systemctl("kill", "--signal=KILL")
    during = environment.add_completions(20)
    await service.until(lambda: has_restarted(service))
    await service.until(lambda: set(environment.receiver.subjects) == before | during)
    assert len(set(environment.receiver.ids)) == 40


async def test_frozen_service_is_restarted_by_the_watchdog(environment: ServiceEnvironment) -> None:
    service = environment.install_instance("frozen", unit=SHORT_WATCHDOG)
    await start_service(service)
    await service.systemctl("kill", "--signal=STOP")
    await service.until(lambda: has_restarted(service))
    assert "Watchdog timeout" in service.log


STUCK_SCHEDULER_SCRIPT = """
from pathlib import Path
import notifier.daemon.systemd.liveness
from apscheduler.schedulers.asyncio import AsyncIOScheduler

start_timer = AsyncIOScheduler._start_timer

def stick(scheduler, wait_seconds):
    if Path("/etc/notifier/stuck/now").exists():
        Path("/var/lib/notifier-stuck/has-stuck").touch()
    else:
        start_timer(scheduler, wait_seconds)

AsyncIOScheduler._start_timer = stick
notifier.daemon.systemd.liveness.LEAST_TOLERANCE_SECONDS = 2.0
"""


async def test_service_with_a_stuck_scheduler_reports_it_and_is_restarted(
    environment: ServiceEnvironment,
) -> None:
    machine = environment.machine
    machine.write("/opt/sticking/sitecustomize.py", STUCK_SCHEDULER_SCRIPT)
    service = environment.install_instance("stuck", unit=f"{SHORT_WATCHDOG}Environment=PYTHONPATH=/opt/sticking\n")
    await start_service(service)
    machine.write("/etc/notifier/stuck/now", "")
    await service.until(lambda: machine.run("test", "-e", "/var/lib/notifier-stuck/has-stuck").returncode == 0)
    await service.until(lambda: "hanging" in service.show("StatusText"))
    asked = (NOTIFIER, "--config", "/etc/notifier/stuck/config.toml")
    answered, health = await asyncio.gather(
        asyncio.to_thread(machine.run, *asked, "status", "--json"), asyncio.to_thread(machine.run, *asked, "health")
    )
    assert answered.returncode == 0
    # In a container, the health check must notice this, because there is no watchdog.
    assert (health.returncode, "the daemon hangs (" in health.stderr) == (1, True)
    machine.do("rm", "/etc/notifier/stuck/now")
    await service.until(lambda: has_restarted(service))
    assert "a part of the daemon hangs" in service.log
    assert "part=acme" in service.log
    # The log shows where the process was when the watchdog ended it.
    assert "Fatal Python error: Aborted" in service.log


async def test_service_with_an_invalid_configuration_is_not_restarted(environment: ServiceEnvironment) -> None:
    service = environment.install_instance("wrong", source='tokem = "x"', checked=True)
    done = await service.systemctl("start")
    assert done.returncode != 0
    await service.until(lambda: service.show("ActiveState") == "failed")
    assert service.show("ExecMainStatus") == "78"
    assert service.show("NRestarts") == "0"
    assert "did you mean `token`?" in service.log


async def test_service_reload_applies_changes_and_refuses_invalid_ones(environment: ServiceEnvironment) -> None:
    service = environment.install_instance("reloaded", unit="WatchdogSec=6s\n")
    await start_service(service)
    environment.configure(
        "reloaded", more=f'[destinations.audit]\ntype = "http"\nurl = "{environment.receiver.url}/hook"\n'
    )
    done = await service.systemctl("reload")
    assert done.returncode == 0, f"{done.stderr}\n{service.log}"
    await service.until(lambda: service.show("StatusText") == "1 source ok, 2 destinations ok")
    assert "destinations added: audit" in service.log
    assert "(restart it after changing one): sources.acme.token" in service.log

    environment.configure("reloaded", source='tokem = "x"')
    done = await service.systemctl("reload")
    assert done.returncode != 0
    assert service.show("ActiveState") == "active"
    assert "did you mean `token`?" in service.log
    assert "a new or changed credential is not seen" in service.log

    environment.configure("reloaded")
    await service.systemctl("kill", "--kill-whom=main", "--signal=HUP")
    await service.until(lambda: service.show("StatusText") == "1 source ok, 1 destination ok")
    assert service.show("NRestarts") == "0"


async def test_service_without_a_credentials_folder_starts(environment: ServiceEnvironment) -> None:
    service = environment.install_instance("bare", unit="Environment=NOTIFIER_SOURCES__ACME__TOKEN=sandbox\n")
    environment.machine.do("rm", "-r", "/etc/notifier/bare/credentials")
    await start_service(service)
    await service.until(lambda: service.show("StatusText") == "1 source ok, 1 destination ok")
