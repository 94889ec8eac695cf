"""The command `notifier dashboard`, which signs a browser in to the dashboard."""

from ipaddress import ip_address
from socket import gethostname
from urllib.parse import urlsplit

import click

from notifier.cli import daemon_client
from notifier.cli.browser import open_in_browser
from notifier.cli.context import locate_state_file
from notifier.cli.errors import CommandError
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo

_MINUTE = 60


@click.command(epilog=examples("notifier dashboard", "notifier dashboard --no-open"))
@click.option("--no-open", "only_print", is_flag=True, help="Only print the link, even on a desktop.")
@pass_global_options
def dashboard(global_options: GlobalOptions, *, only_print: bool) -> None:
    """Print a one-time link that signs in to the dashboard.

    On a desktop, the link is opened in the browser. From another machine, first open an SSH tunnel to the port:
    `ssh -L 8787:127.0.0.1:8787 server`.
    """
    answer = daemon_client.request(locate_state_file(global_options), "POST", "/v1/sign-in-link")
    if answer is None:
        raise CommandError("the dashboard needs a running daemon; `notifier run` starts one")
    if not answer.done:
        raise CommandError(answer.body["message"])
    link = str(answer.body["url"])
    minutes = answer.body["valid_seconds"] // _MINUTE
    is_whole = not link.startswith("/")
    is_opened = is_whole and not only_print and open_in_browser(link)
    echo(link)
    if not is_whole:
        echo(
            "The daemon listens on a Unix socket: put the address of a proxy or an SSH tunnel to it before the path,"
            f" such as http://localhost:8787. The link is valid once, for {minutes} minutes."
        )
    elif is_opened:
        echo("The browser opens the link, which is valid once.")
    else:
        echo(f"Open it in a browser on this machine within {minutes} minutes; it is valid once.")
        address = urlsplit(link)
        if ip_address(address.hostname or "").is_loopback:
            tunnel = f"ssh -L {address.port}:{address.netloc} {gethostname()}"
            echo(f"To open it on another machine, first run `{tunnel}` there.")
