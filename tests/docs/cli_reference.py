"""The words of the command line as click knows them."""

from collections.abc import Iterator

import click

from service.cli import cli
from tests.docs.markdown import table

Words = tuple[str, ...]


def words(command: click.Command = cli, path: Words = ("serin",)) -> Iterator[tuple[Words, click.Command]]:
    """Every command that runs something, with the words that lead to it."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            if found and not found.hidden:
                yield from words(found, (*path, name))
    else:
        yield path, command


def flags(command: click.Command) -> set[str]:
    """All spellings of the options of a command."""
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {"--help", *(name for option in options for name in (*option.opts, *option.secondary_opts))}


def commands() -> str:
    """One line for each command: how it is called, what it does."""
    rows = []
    for path, command in words():
        usage = " ".join([*path, *command.collect_usage_pieces(click.Context(command))])
        rows.append([f"`{usage}`", command.get_short_help_str(limit=200), flag_list(path, command)])
    return table(["Command", "What it does", "Flags"], rows)


def flag_list(path: Words, command: click.Command) -> str:
    if path[1:] in (("serve",), ("settings",)):
        return "`--json`, `--config FILE`, and each of the [settings](settings.md)"
    shown = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    return ", ".join(f"`{option.opts[0]}`" for option in shown)
