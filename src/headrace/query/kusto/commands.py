"""The management commands that tools ask a cluster: what databases, tables, columns and functions there are.

Commands only show things: a workspace is changed through the management API. Columns of the answers are those
of Azure Data Explorer's documentation of each command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace import __version__
from headrace.catalog.model import Workspace
from headrace.errors import Problem, ProblemError
from headrace.kql.syntax.literals import name_text
from headrace.kql.types import DOTNET_TYPES, Schema
from headrace.query.database import WorkspaceView
from headrace.query.kusto.frames import Listing
from headrace.query.saved import parted

_WORD = re.compile(r"""\s*(?:(\[\s*(?:'[^']*'|"[^"]*")\s*\])|("[^"]*"|'[^']*')|([\w.\-]+)|(\S))""")
_TABLES: Final = (
    ("TableName", "string"),
    ("DatabaseName", "string"),
    ("Folder", "string"),
    ("DocString", "string"),
)
_DATABASES: Final = (
    ("DatabaseName", "string"),
    ("PersistentStorage", "string"),
    ("Version", "string"),
    ("IsCurrent", "bool"),
    ("DatabaseAccessMode", "string"),
    ("PrettyName", "string"),
    ("DatabaseId", "guid"),
)
_TABLE_SCHEMA: Final = (
    ("TableName", "string"),
    ("Schema", "string"),
    ("DatabaseName", "string"),
    ("Folder", "string"),
    ("DocString", "string"),
)
_DATABASE_SCHEMA: Final = (
    ("DatabaseName", "string"),
    ("TableName", "string"),
    ("ColumnName", "string"),
    ("ColumnType", "string"),
    ("IsDefaultTable", "bool"),
    ("IsDefaultColumn", "bool"),
    ("PrettyName", "string"),
    ("Version", "string"),
    ("Folder", "string"),
    ("DocString", "string"),
)
_FUNCTIONS: Final = (
    ("Name", "string"),
    ("Parameters", "string"),
    ("Body", "string"),
    ("Folder", "string"),
    ("DocString", "string"),
)
_VERSION: Final = (
    ("BuildVersion", "string"),
    ("BuildTime", "datetime"),
    ("ServiceType", "string"),
    ("ProductVersion", "string"),
    ("ServiceOffering", "string"),
)
_KNOWN: Final = (
    ".show databases",
    ".show tables",
    ".show table T",
    ".show table T cslschema",
    ".show table T schema as json",
    ".show database schema",
    ".show database schema as json",
    ".show databases schema as json",
    ".show database cslschema",
    ".show functions",
    ".show function F",
    ".show version",
)


class Commands:
    """Answers the commands of one caller.

    `workspaces` are those that he may query; `view` gives what he sees in one of them, `database` the one that
    the request names, raising `HttpError` when it names none.
    """

    def __init__(
        self,
        workspaces: Sequence[Workspace],
        view: Callable[[Workspace], WorkspaceView],
        database: Callable[[], Workspace],
    ) -> None:
        self._workspaces = workspaces
        self._view = view
        self._database = database

    def run(self, text: str) -> Listing:
        """What a command shows. Raises `ProblemError` for one that there is not."""
        words = _words(text)
        lowered = tuple(word.lower() for word in words)
        match lowered:
            case (".show", "databases"):
                return Listing(_DATABASES, [self._database_row(one) for one in self._workspaces])
            case (".show", "databases" | "cluster", "schema", "as", "json") | (
                ".show",
                "schema",
                "as",
                "json",
            ):
                return self._schema_json(self._workspaces)
            case (".show", "tables"):
                return self._tables()
            case (".show", "table", _):
                return self._columns(words[2])
            case (".show", "table", _, "cslschema" | "schema"):
                return self._table_schema(words[2], _csl)
            case (".show", "table", _, "schema", "as", "json"):
                return self._table_schema(words[2], _table_json)
            case (".show", "functions"):
                return Listing(_FUNCTIONS, [_function_row(*one) for one in self._functions().items()])
            case (".show", "function", _):
                return self._function(words[2])
            case (".show", "version"):
                return Listing(_VERSION, [[__version__, None, "Engine", __version__, "Headrace"]])
        if lowered[:2] == (".show", "database"):
            return self._database_command(words, lowered)
        raise ProblemError(_unknown(text))

    def _database_command(self, words: Sequence[str], lowered: tuple[str, ...]) -> Listing:
        """`.show database [NAME] ...`: a name there is the request's own or another's."""
        named = len(words) > 2 and lowered[2] not in ("schema", "cslschema")
        workspace = self._named(words[2]) if named else self._database()
        match lowered[3 if named else 2 :]:
            case ("schema", "as", "json"):
                return self._schema_json((workspace,))
            case ("schema",):
                return self._database_schema(workspace)
            case ("cslschema",):
                rows = [
                    _schema_row(name, workspace, _csl(name, schema)) for name, schema in self._all(workspace)
                ]
                return Listing(_TABLE_SCHEMA, rows)
        raise ProblemError(_unknown(" ".join(words)))

    def _named(self, name: str) -> Workspace:
        for workspace in self._workspaces:
            if name.lower() in (workspace.name.lower(), workspace.customer_id):
                return workspace
        raise ProblemError(no_database(name))

    def _all(self, workspace: Workspace) -> Iterable[tuple[str, Schema]]:
        view = self._view(workspace)
        for name in view.table_names():
            schema = view.find_table(name)
            if schema is not None:
                yield name, schema

    def _table(self, name: str) -> tuple[Workspace, Schema]:
        workspace = self._database()
        schema = self._view(workspace).find_table(name)
        if schema is None:
            message = f"Entity ID '{name[:100]}' of kind 'Table' was not found in '{workspace.name}'."
            raise ProblemError(Problem("BadRequest_EntityNotFound", message, hint="See `.show tables`."))
        return workspace, schema

    def _tables(self) -> Listing:
        workspace = self._database()
        names = self._view(workspace).table_names()
        return Listing(_TABLES, [[name, workspace.name, "", ""] for name in names])

    def _columns(self, name: str) -> Listing:
        _, schema = self._table(name)
        columns = (("AttributeName", "string"), ("AttributeType", "string"))
        return Listing(columns, [[column.name, column.type.value] for column in schema.columns])

    def _table_schema(self, name: str, write: Callable[[str, Schema], str]) -> Listing:
        workspace, schema = self._table(name)
        return Listing(_TABLE_SCHEMA, [_schema_row(name, workspace, write(name, schema))])

    def _database_schema(self, workspace: Workspace) -> Listing:
        rows: list[list[Any]] = []
        for name, schema in self._all(workspace):
            rows.append([workspace.name, name, None, None, False, False, "", "v1.0", "", ""])
            for column in schema.columns:
                kind = DOTNET_TYPES[column.type]
                rows.append([workspace.name, name, column.name, kind, False, False, "", "v1.0", "", ""])
        return Listing(_DATABASE_SCHEMA, rows)

    def _schema_json(self, workspaces: Iterable[Workspace]) -> Listing:
        databases = {workspace.name: self._database_json(workspace) for workspace in workspaces}
        text = msgspec.json.encode({"Plugins": [], "Databases": databases}).decode()
        return Listing((("ClusterSchema", "string"),), [[text]])

    def _database_json(self, workspace: Workspace) -> dict[str, Any]:
        return {
            "Name": workspace.name,
            "Tables": {name: _table_object(name, schema) for name, schema in self._all(workspace)},
            "ExternalTables": {},
            "MaterializedViews": {},
            "Functions": {
                name: _function_object(name, text) for name, text in self._view(workspace).functions().items()
            },
            "DatabaseAccessMode": "ReadOnly",
            "MajorVersion": 1,
            "MinorVersion": 0,
        }

    def _functions(self) -> Mapping[str, str]:
        return self._view(self._database()).functions()

    def _function(self, name: str) -> Listing:
        text = self._functions().get(name)
        if text is None:
            message = f"Entity ID '{name[:100]}' of kind 'Function' was not found."
            raise ProblemError(Problem("BadRequest_EntityNotFound", message, hint="See `.show functions`."))
        return Listing(_FUNCTIONS, [_function_row(name, text)])

    @staticmethod
    def _database_row(workspace: Workspace) -> list[Any]:
        return [workspace.name, "", "v1.0", False, "ReadOnly", workspace.name, workspace.customer_id]


def no_database(name: str) -> Problem:
    """There is no such workspace, or the caller may not query it."""
    message = f"Database '{name[:100]}' was not found."
    return Problem("BadRequest_EntityNotFound", message, hint="`.show databases` lists those that there are.")


def _words(text: str) -> list[str]:
    """A command's words, names out of their quotes. A pipe behind a command is refused by name."""
    words: list[str] = []
    for bracketed, quoted, plain, mark in _WORD.findall(text.strip().rstrip(";")):
        if mark == "|":
            hint = "Send the command alone and filter its rows in the client."
            raise ProblemError(
                Problem(
                    "BadRequest_UnsupportedCommand", "A query behind a command is not supported.", hint=hint
                )
            )
        words.append(
            bracketed[1:-1].strip()[1:-1] if bracketed else quoted[1:-1] if quoted else plain or mark
        )
    return words


def _unknown(text: str) -> Problem:
    message = f"The command `{' '.join(text.split())[:100]}` is not supported."
    return Problem("BadRequest_UnsupportedCommand", message, hint=f"There are: {', '.join(_KNOWN)}.")


def _schema_row(name: str, workspace: Workspace, schema: str) -> list[Any]:
    return [name, schema, workspace.name, "", ""]


def _csl(_name: str, schema: Schema) -> str:
    return ",".join(f"{name_text(column.name)}:{column.type.value}" for column in schema.columns)


def _table_json(name: str, schema: Schema) -> str:
    return msgspec.json.encode(_table_object(name, schema)).decode()


def _table_object(name: str, schema: Schema) -> dict[str, Any]:
    columns = [
        {"Name": column.name, "Type": DOTNET_TYPES[column.type], "CslType": column.type.value}
        for column in schema.columns
    ]
    return {"Name": name, "Folder": "", "DocString": "", "OrderedColumns": columns}


def _function_row(name: str, text: str) -> list[Any]:
    parts = parted(text)
    return [name, f"({parts.parameters})", f"{{ {parts.body} }}", "", ""]


def _function_object(name: str, text: str) -> dict[str, Any]:
    parts = parted(text)
    return {
        "Name": name,
        "Body": f"{{ {parts.body} }}",
        "Folder": "",
        "DocString": "",
        "FunctionKind": "Unknown",
        "ParametersText": f"({parts.parameters})",
        "OutputColumns": [],
    }
