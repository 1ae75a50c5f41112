# SPDX-License-Identifier: MIT
"""The command `certwitness`: one module a subcommand, imported only when it is called.

Exit statuses are the monitoring plugins': 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, which wrong usage is too; besides,
as shells have it, 130 after Ctrl-C and 141 when the reader of a pipe has gone.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import warnings
from typing import NoReturn

import click

from certwitness.cli.options import config_option
from certwitness.errors import CertwitnessError

UNKNOWN = 3
INTERRUPTED = 130
PIPE_CLOSED = 141

# name: what it does; the command is the attribute `command` of the module of that name
SUBCOMMANDS = {
    "status": "One screen: which certificate is in which store, the worst first.",
    "verify": "What is wrong with the stores, what it breaks, how to mend it.",
    "gate": "Is it safe to restart or upgrade now? 0 allow, 2 block.",
    "release": "Let a service start though the gate blocks it.",
    "checks": "What is compared, and what a failure means.",
    "renewals": "One row a renewal, newest first.",
    "show": "One renewal from its first run to its last.",
    "watch": "Follow certmonger's renewals, and tell whether each landed.",
    "tail": "Events as lines for people, as they come.",
    "explain": "What an exit code or a message of a helper means.",
    "register": "Put certwitness in front of certmonger's helpers.",
    "unregister": "Put back what was there before.",
    "registration": "What is registered, and what became of it since.",
}


class _Program(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in SUBCOMMANDS:
            return None
        command: click.Command = importlib.import_module(f"certwitness.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.command(
    "certwitness", cls=_Program, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, help="Print the version.",
    callback=lambda ctx, _, value: _version(ctx) if value else None,
)  # fmt: skip
@config_option
def program() -> None:
    """Witness every certmonger renewal: what ran, how it ended, whether it landed, what certmonger does next.

    Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for wrong usage).
    """


def _version(ctx: click.Context) -> None:
    from certwitness import __version__

    click.echo(f"certwitness {__version__}")
    ctx.exit()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status. Whatever the input, there is one line and no traceback."""
    if not sys.warnoptions:
        # Those of libraries are nothing to an admin. Set before there are threads, whose own settings mix.
        warnings.simplefilter("ignore")
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A nickname need not fit the locale.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = PIPE_CLOSED
    except OSError as error:
        status = _fail(f"output: {error.strerror}")
    if threading.active_count() > 1:
        # A reader of a store that hangs, and that nobody waits for any more, must not hold up the end; nor may what it
        # runs go on without it.
        nss_tools = sys.modules.get("certwitness.stores.nss_tools")
        if nss_tools:
            nss_tools.kill_all()
        os._exit(status)
    sys.exit(status)


def _open_standard_streams() -> None:
    """Open descriptors 0 to 2 on /dev/null where they are closed: a PIN or a socket of ours became one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def run(arguments: list[str]) -> int:
    """The same without leaving: the exit status. Lets BrokenPipeError and other errors of stdout through."""
    try:
        with program.make_context("certwitness", arguments) as context:
            program.invoke(context)
    except click.exceptions.Exit as done:
        return int(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "certwitness"
        return _fail(f"{error.format_message()} Try '{where} --help'.")
    except click.ClickException as error:
        return _fail(error.format_message())
    except CertwitnessError as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    from certwitness.render.text import clean

    click.echo(f"certwitness: {clean(message)}", err=True)
    return UNKNOWN
