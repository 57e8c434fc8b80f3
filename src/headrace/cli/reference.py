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
from headrace.cli.markdown import MADE, code, table
from headrace.observe.metrics import METRICS
from headrace.settings import AZURE_LIMITS, MIB, Settings, setting_fields, variable_name


def pages() -> dict[str, str]:
    """The text of every generated page, by file name."""
    return {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "kql.md": kql_page(),
        "metrics.md": metrics_page(),
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


def metrics_page() -> str:
    """Every metric with its kind and labels."""
    rows = [
        (
            code(metric.name),
            metric.kind,
            ", ".join(code(label) for label in metric.labels) or "-",
            metric.help,
        )
        for metric in METRICS
    ]
    parts = [
        MADE,
        "# Metrics\n",
        "`GET /metrics` of the server answers Prometheus text with the numbers of all its processes. It takes no\n"
        "token; the setting `server.metrics` narrows it to callers on the same machine (`local`) or switches it\n"
        "`off`.\n",
        table(("Metric", "Kind", "Labels", "What it tells"), rows),
        "## How the numbers add up\n",
        "For each flow, `headrace_flow_rows_received_total` is at any moment the sum of its results in\n"
        "`headrace_flow_rows_total`: no row vanishes. A stream that several data flows take counts in each, and so\n"
        "does a flow for each workspace that it sends to. What was accepted and is on its way is the difference to\n"
        "`headrace_rows_accepted_total`; it lies in the journal and shows in `headrace_journal_records_waiting`\n"
        "and `headrace_pipeline_lag_seconds`.\n",
        "`headrace_flow_undeclared_payloads_total` counts calls, not rows, by the same flows; of a long one only\n"
        "the first and the last rows are looked at. The call's receipt has the names.\n",
        "Counters begin at 0 when their process starts, as Prometheus expects (`rate()` and `increase()`\n"
        "see through it); `headrace_process_restarts_total` tells when. Rows that a restarted pipeline finds in the\n"
        "tables already are not counted again. `rule` is the immutableId; `gateway` the gateway's number.\n",
        "## By Azure's names\n",
        "`GET {rule}/providers/Microsoft.Insights/metrics?api-version=2024-02-01` of the control plane answers\n"
        "the numbers of one rule by the minute, for 93 days and within 256 MiB: `BytesReceived_Count`,\n"
        "`ApiCallReceived_Count` (by `ResponseCode`), `RowsReceived_Count`, `RowsDropped_Count` (filtered or dead\n"
        "letters), `TransformationErrors_Count` (by `ErrorType`) and `TransformationRuntime_DurationMs` (these\n"
        "two also as `TransformErrors_Count` and `TransformRuntime_DurationMs`), each by\n"
        "`InputStreamId`; `metricDefinitions` lists them. Parameters are Azure's: `metricnames`, `timespan`,\n"
        "`interval`, `aggregation`, `$filter`, `top`. What came within the last five seconds may still be missing.\n",
        "## In the workspaces\n",
        "The tables `Usage` and `Operation` hold what Azure's hold, as far as it exists here; their rows go\n"
        "through a journal and the pipeline like any others, under rules of the server's own (`headrace-` and\n"
        "the workspace's id), which show in the numbers of the flows.\n",
        "- `Usage`: a row for each table and hour (UTC) that it took rows in, soon after that hour. `Quantity`\n"
        "  is in MB (10^6): the JSON of its calls after inflate, less the share of rows that the transform\n"
        "  filtered. A crash may cost the last seconds' count.\n"
        "- `Operation`: starts and what they mended, the volume of each day, and, once an hour as long as they\n"
        "  last, rows that wait longer than a minute, a journal that is 80 % full, payloads that the disk\n"
        "  cannot give back. They go to every workspace that ever took a row.\n",
        "## Examples\n",
        "```promql\n"
        "sum by (rule) (rate(headrace_rows_accepted_total[5m]))\n"
        'increase(headrace_flow_rows_total{result="dead_lettered"}[1h]) > 0\n'
        "increase(headrace_flow_undeclared_payloads_total[1h]) > 0\n"
        "headrace_pipeline_lag_seconds > 5\n"
        "```\n",
    ]
    return "\n".join(parts)


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The commands below one, in the order of the help."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


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
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
