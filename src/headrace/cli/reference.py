"""Prints the reference pages that come from code: `python -m headrace.cli.reference docs/reference`.

A test compares the pages with the code, so neither can change alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer.main
from pydantic_core import PydanticUndefined

from headrace.cli.kql_reference import kql_page
from headrace.cli.main import app
from headrace.cli.markdown import MADE, TABLE_END, TABLE_START, code, table
from headrace.observe.metrics import METRICS
from headrace.settings import AZURE_LIMITS, MIB, Settings, setting_fields, variable_name


def pages(folder: Path) -> dict[str, str]:
    """The text of every page in `folder` that is printed, whole or in part, by file name."""
    return {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "kql.md": kql_page(),
        "metrics.md": metrics_page((folder / "metrics.md").read_text("utf-8")),
    }


def cli_page() -> str:
    """Every command with its arguments and options, from the command tree itself."""
    root = typer.main.get_command(app)
    parts = [
        MADE,
        "# Command line\n",
        "Exit codes: 0 done, 1 a failure with one clear line on standard error, 2 wrong usage. Commands that talk to\n"
        'a server find it by `--env-file`, by the variables of this shell (`eval "$(headrace env)"`), or on the data\n'
        "folder of the settings (`HEADRACE_DATA_DIR`, `headrace.toml`), by default the user's own. Results go to\n"
        "standard output; progress and problems go to standard error.\n",
    ]
    for path, command in _commands(root, "headrace"):
        parts.append(f"## `{path}`\n")
        parts.append(_paragraphs(command.help or ""))
        rows = [_parameter(each) for each in command.params if not each.hidden and "--help" not in each.opts]
        if rows:
            parts.append(table(("Argument or option", "What it is"), rows))
        if command.epilog:
            parts.append(_blocks(command.epilog))
    return "\n".join(parts)


def settings_page() -> str:
    """Every setting with its default and variable, and the values of the azure profile."""
    parts = [
        MADE,
        "# Settings\n",
        "Read from `headrace.toml` in the working folder (or `--config FILE`), overridden by the variable,\n"
        "overridden by a flag. `headrace settings` prints each with its value and where that came from.\n"
        "A variable that begins with `HEADRACE_` and is none of Headrace's changes nothing: the start tells of it.\n",
        '```toml\nmode = "compatible"\n\n[ingest]\nmax_wire_bytes = 1048576\n```\n',
    ]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for name, field in setting_fields().items():
        section = name.partition(".")[0] if "." in name else ""
        row = (
            f"`{name}`",
            _default(name, field.default),
            field.description or "",
            variable_name(name),
        )
        groups.setdefault(section, []).append((*row[:3], f"`{row[3]}`"))
    for section, rows in groups.items():
        group = Settings.model_fields[section].annotation if section else None
        title = f"## [{section}]\n" if section else "## Top level\n"
        parts.append(title)
        if group is not None and group.__doc__:
            parts.append(group.__doc__.strip() + "\n")
        parts.append(table(("Setting", "Default", "What it does", "Variable"), rows))
    parts.append("## Profile `azure`\n")
    parts.append('`profile = "azure"` makes Azure\'s documented limits the defaults; what is set stays.\n')
    limits = [(f"`{name}`", _value(name, value)) for name, value in AZURE_LIMITS.items()]
    parts.append(table(("Setting", "Value"), limits))
    return "\n".join(parts)


def metrics_page(page: str) -> str:
    """The page with its table of every metric as the code has it; all else on it is written by hand."""
    head, _, rest = page.partition(TABLE_START)
    _, _, tail = rest.partition(TABLE_END)
    rows = [
        (
            code(metric.name),
            metric.kind,
            ", ".join(code(label) for label in metric.labels) or "-",
            metric.help,
        )
        for metric in METRICS
    ]
    made = table(("Metric", "Kind", "Labels", "What it tells"), rows)
    return f"{head}{TABLE_START}\n{made}\n{TABLE_END}{tail}"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The commands below one, in the order of the help."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


def _blocks(epilog: str) -> str:
    """What stands below a command's options: its lines are items of one list."""
    head, *items = epilog.split("\n\n")
    return "\n".join((f"{head}\n", *items)) + "\n"


def _parameter(parameter: Any) -> tuple[str, str]:
    help_text = " ".join((parameter.help or "").split())
    default = parameter.default
    if isinstance(default, Enum):
        default = default.value
    if default not in (None, False, True, "") and "Default:" not in help_text:
        help_text += f" Default: {default}."
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name.upper()).strip("[]") + "..." * (parameter.nargs != 1)
        return code(name if parameter.required else f"[{name}]"), help_text
    names = ", ".join(code(each) for each in (*parameter.opts, *parameter.secondary_opts))
    value = "" if parameter.is_flag else f" {code(_metavar(parameter))}"
    return names + value, help_text


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(each.value) for each in kind)
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _default(name: str, value: Any) -> str:
    if value is PydanticUndefined:
        return "the platform's user data folder"
    return _value(name, value)


def _value(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if (
        isinstance(value, int)
        and name.rpartition(".")[2].endswith("bytes")
        and value >= MIB
        and value % MIB == 0
    ):
        return f"`{value}` ({value // MIB} MiB)"
    return code(str(value))


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n")) + "\n"


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    for name, text in pages(folder).items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
