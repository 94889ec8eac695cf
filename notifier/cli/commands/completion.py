"""The command `notifier completion`, which prints a completion script for a shell."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from notifier.cli.app import COMPLETION_VARIABLE, program
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.parameter_types import OneOf

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        "notifier completion bash > ~/.local/share/bash-completion/completions/notifier",
        "notifier completion zsh > ~/.zfunc/_notifier",
        "notifier completion fish > ~/.config/fish/completions/notifier.fish",
    )
)
@click.argument("shell", metavar="SHELL", type=OneOf(_SHELLS))
@pass_global_options
def completion(_global_options: GlobalOptions, shell: str) -> None:
    """Print a completion script for your shell.

    SHELL is bash, zsh or fish. The names of sources and destinations are read from the configuration.
    """
    completion_class = get_completion_class(shell)
    if completion_class is None:
        raise RuntimeError(f"click knows no completion for {shell}")
    # The method of the base class is called, because click's class for bash first checks this machine's bash version.
    echo(ShellComplete.source(completion_class(program, {}, "notifier", COMPLETION_VARIABLE)))
