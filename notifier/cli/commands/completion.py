"""`notifier completion`."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import OneOf
from notifier.cli.program import COMPLETE, program
from notifier.cli.screen import say

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        "notifier completion bash > ~/.local/share/bash-completion/completions/notifier",
        "notifier completion zsh > ~/.zfunc/_notifier",
        "notifier completion fish > ~/.config/fish/completions/notifier.fish",
    )
)
@click.argument("shell", metavar="SHELL", type=OneOf(_SHELLS))
@takes_given
def completion(_given: Given, shell: str) -> None:
    """Print what lets a shell complete commands, options and names.

    SHELL is bash, zsh or fish. Names of sources and destinations come from the configuration.
    """
    of_shell = get_completion_class(shell)
    if of_shell is None:
        raise RuntimeError(f"click knows no completion for {shell}")
    # Not as the class for bash would have it, which first looks how old this machine's bash is.
    say(ShellComplete.source(of_shell(program, {}, "notifier", COMPLETE)))
