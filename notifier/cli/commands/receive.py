"""The command `notifier receive`, which runs a local receiver that prints what a destination sends."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from notifier import log
from notifier.cli.errors import CommandError
from notifier.cli.formatting import terminal_safe
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.secret_option import read_secret
from notifier.config.webhook_secrets import problem_with_receiver_key
from notifier.daemon.signals import stop_on_signal

if TYPE_CHECKING:
    from notifier.cli.receiver import ReceivedRequest

_PORT: Final = 8789
_INDENT: Final = " " * 10


@click.command(
    epilog=examples(
        "notifier receive",
        "notifier receive --secret @secret.txt --answer 503 --answer 503 --answer 200",
        "notifier receive --port 9000 --json",
    )
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="S",
    help="Verify signatures with this whsec_ secret or whpk_ public key (repeatable); invalid requests get 401.",
)
@click.option(
    "--answer",
    "statuses",
    multiple=True,
    type=click.IntRange(200, 599),
    default=(200,),
    metavar="N",
    help="HTTP status of the answer; if repeated: one for each request, then always the last one.  [default: 200]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_PORT,
    show_default=True,
    metavar="P",
    help="Port to listen on, on this machine; 0 for any free one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
@pass_global_options
def receive(
    global_options: GlobalOptions, secrets: Sequence[str], statuses: Sequence[int], port: int, *, as_json: bool
) -> None:
    """Run a local receiver that prints what a destination sends.

    To try a destination of the type `http`, `slack` or `teams`, set its `url` to the address that this command prints,
    then run `notifier test`. With --secret, signatures are verified; @FILE reads the secret from a file, because other
    users of the machine can see command lines. With --answer, you can see how the notifier reacts to errors. An event
    is marked if an event with the same id was accepted before. A destination with the key `origin` asks for permission
    before it sends events; the receiver grants it. Ctrl-C ends the receiver.
    """
    keys = [read_secret(secret) or "" for secret in secrets]
    for key in keys:
        if problem := problem_with_receiver_key(key):
            raise click.UsageError(f"--secret {problem}")
    log.setup(global_options.log_level(default="error"), "text")
    asyncio.run(_serve(keys, statuses, port, _show_json if as_json else _show, quiet=as_json))


async def _serve(
    secrets: Sequence[str],
    statuses: Sequence[int],
    port: int,
    show: "Callable[[ReceivedRequest], None]",
    *,
    quiet: bool,
) -> None:
    # Imported here, because this import takes a quarter of a second and wrong usage is reported without it.
    from notifier.cli.receiver import WebhookReceiver  # noqa: PLC0415

    failures: list[Exception] = []
    with stop_on_signal() as stop:

        def show_or_stop(request: "ReceivedRequest") -> None:
            # An error would otherwise only fail this request, and the command would not end.
            try:
                show(request)
            except (CommandError, click.exceptions.Exit) as failure:
                failures.append(failure)
                stop.set()

        try:
            async with WebhookReceiver(secrets, statuses, show_or_stop).serve(port) as url:
                verification = (
                    "signatures are verified" if secrets else "signatures are not verified: there is no --secret"
                )
                lines = [f"receiving at {url} ({verification}); Ctrl-C ends it"]
                if quiet:
                    click.echo(lines[0], err=True)
                else:
                    echo(*lines)
                await stop.wait()
        except OSError as error:
            # Removes the address, which asyncio puts in front of the system's message.
            why = str(error.strerror).rpartition(": ")[2]
            raise CommandError(f"cannot listen on port {port} ({why}): give another --port") from error
    if failures:
        raise failures[0]


def _show_json(request: "ReceivedRequest") -> None:
    echo_json([request.document()])


def _show(request: "ReceivedRequest") -> None:
    cells = [f"{datetime.now().astimezone():%H:%M:%S}", request.verb, request.path, request.message_id]
    if request.verdict is not None:
        cells.append(f"({request.verdict.reason})")
    lines = [_joined(*cells, f"answered {request.status}")]
    for event in request.events:
        mark = "  (arrived before)" if event.is_repeated else ""
        texts = (event.text or "").splitlines() or [""]
        lines += [f"{_INDENT}{_joined(event.type, event.id, text)}{mark}" for text in texts]
    if request.note:
        lines.append(f"{_INDENT}{terminal_safe(request.note)}")
    echo(*lines)


def _joined(*cells: str) -> str:
    return "  ".join(terminal_safe(word) for word in cells if word)
