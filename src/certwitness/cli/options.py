# SPDX-License-Identifier: MIT
"""What the subcommands share: the configuration, the log, and how trouble with it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

import click

from certwitness.render.text import clean

if TYPE_CHECKING:
    from certwitness.config import Config
    from certwitness.events.reader import Problems

_Function = TypeVar("_Function", bound=Callable[..., Any])
_KEY = "certwitness.config"


def _keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta[_KEY] = value


def config_option(function: _Function) -> _Function:
    """``--config FILE``, taken before and after the subcommand; the later one counts."""
    return click.option(
        "--config",
        metavar="FILE",
        expose_value=False,
        callback=_keep,
        help="Read FILE instead of /etc/certwitness/certwitness.conf.",
    )(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def configuration(ctx: click.Context) -> Config:
    """The configuration that the command line asks for. Raises ConfigurationError."""
    from certwitness.config import load

    return load(ctx.meta.get(_KEY))


def report_problems(problems: Problems) -> None:
    """Tell on stderr what of the log could not be read, one line a kind."""
    for problem, count in problems.counted():
        where = f"{problem.path}, line {problem.line}" if problem.line else problem.path
        more = f" (and {count - 1} more such lines in this file)" if count > 1 else ""
        click.echo(f"certwitness: {clean(f'{where}: {problem.what}{more}')}", err=True)


def problems_as_json(problems: Problems) -> list[dict[str, Any]]:
    """The same for ``--json``."""
    return [
        {"path": problem.path, "line": problem.line or None, "what": problem.what, "count": count}
        for problem, count in problems.counted()
    ]


def empty_log(path: str) -> str:
    """What to say of a log without any event: the next step."""
    return (
        f"{clean(path)}: no event yet. It begins when certmonger runs a helper of certwitness. To register them:\n"
        "  certwitness register\n"
        "Whether they are: certwitness registration"
    )
