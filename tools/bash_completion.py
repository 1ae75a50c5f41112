# SPDX-License-Identifier: MIT
"""Print bash's completion of the command `certwitness`, from click's commands: `python tools/bash_completion.py`.

All words stand in the script: no interpreter is started when somebody presses Tab.
"""

from __future__ import annotations

import shlex

import click

from certwitness.cli import program

SCRIPT = """# SPDX-License-Identifier: MIT
# Completion of certwitness for bash, generated from its own help.
_certwitness() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command= words= word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD - 1}}"; do
        case $word in {names}) command=$word && break ;; esac
    done
    case $command in
{words}
    esac
    case $command:$previous in
{values}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _certwitness certwitness
"""


def script() -> str:
    """The whole script."""
    root = click.Context(program, info_name="certwitness", **program.context_settings)
    commands = {name: command for name in program.list_commands(root) if (command := program.get_command(root, name))}
    words = []
    values: dict[str, list[str]] = {}  # the words that can follow: after which options
    for name, command in [("", program), *commands.items()]:
        context = click.Context(command, info_name=name or "certwitness", parent=root if name else None)
        known = [*commands] if not name else []
        for parameter in command.get_params(context):
            known += parameter.opts if isinstance(parameter, click.Option) else _choices(parameter)
            if isinstance(parameter, click.Option) and not parameter.is_flag and not parameter.count:
                patterns = values.setdefault(" ".join(_choices(parameter)), [])
                patterns += [f"{name}:{option}" for option in parameter.opts]
        words.append(f"        {shlex.quote(name)}) words={shlex.quote(' '.join(known))} ;;")
    cases = [f"        {'|'.join(patterns)}) words={shlex.quote(known)} ;;" for known, patterns in values.items()]
    return SCRIPT.format(names="|".join(commands), words="\n".join(words), values="\n".join(cases))


def _choices(parameter: click.Parameter) -> list[str]:
    return [str(choice) for choice in parameter.type.choices] if isinstance(parameter.type, click.Choice) else []


if __name__ == "__main__":
    print(script(), end="")
