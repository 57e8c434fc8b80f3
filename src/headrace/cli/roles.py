"""`headrace role`: who may do what, where."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.client import EnvFileOption, Server, is_guid, named_app
from headrace.cli.output import OutputForm, OutputOption, console, print_record, print_rows
from headrace.errors import Problem, ProblemError

group = typer.Typer(help="Role assignments: who may do what, where.", no_args_is_help=True)

PrincipalOption = Annotated[
    str,
    typer.Option(
        metavar="APP", help="Name, client id or object id of an app, or the object id of another principal."
    ),
]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        metavar="SCOPE", help="Resource id, or the immutableId or name of a rule. Default: the sample rule."
    ),
]

_VERSION = "2022-04-01"


@group.command("assign")
def assign(
    role: Annotated[
        str, typer.Argument(metavar="ROLE", help="Name of the role, such as 'Monitoring Metrics Publisher'.")
    ],
    principal: PrincipalOption,
    scope: ScopeOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Let a principal have a role on a resource and all below it.

    `headrace role assign 'Monitoring Metrics Publisher' --principal my-app --scope dcr-...` lets an app send to a rule.
    """
    with Server.find(env_file) as server:
        who = _object_id(server, principal)
        where = _scope(server, scope or server.variable("HEADRACE_DCR_IMMUTABLE_ID"))
        now = "now" if assign_role(server, role, who, where) else "already"
    named = who if who == principal else f"{escape(principal)} ({who})"
    console().print(f"{named} is {now} {escape(role)} on {escape(where)}.")


@group.command("list")
def list_assignments(
    scope: Annotated[
        str | None,
        typer.Option(metavar="SCOPE", help="Resource id, or a rule. Default: the whole subscription."),
    ] = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """List role assignments."""
    with Server.find(env_file) as server:
        where = _scope(server, scope or server.subscription_id)
        names = {item["name"].lower(): item["properties"]["roleName"] for item in _definitions(server, where)}
        path = f"{where}/providers/Microsoft.Authorization/roleAssignments"
        found = server.arm("GET", path, _VERSION)["value"]
        apps = {app["principalId"]: app["name"] for app in _visible_apps(server)}
    rows = [_row(item["properties"], names, apps) for item in found]
    print_rows(("role", "app", "principal", "scope"), rows, output)


@group.command("explain")
def explain(
    principal: Annotated[
        str, typer.Option(metavar="ID", help="Object id, client id or name of an app. Default: yourself.")
    ] = "",
    action: Annotated[
        str, typer.Option(metavar="ACTION", help="What is to be done. Default: sending logs through a rule.")
    ] = "Microsoft.Insights/Telemetry/Write",
    scope: ScopeOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Say whether a principal may do something, which role decides it, and what to do if not.

    It ends with exit code 0 whether the action is allowed or not; `--output json` has the field `allowed`.
    """
    with Server.find(env_file) as server:
        where = _scope(server, scope or server.variable("HEADRACE_DCR_IMMUTABLE_ID"))
        asked = {
            "principal": principal or server.variable("AZURE_CLIENT_ID"),
            "action": action,
            "scope": where,
        }
        found = server.admin("POST", "access/explain", asked)
    if output is not OutputForm.TABLE:
        print_record(found, output)
        return
    word = "[bold green]allowed[/bold green]" if found["allowed"] else "[bold red]denied[/bold red]"
    out = console()
    out.print(f"{escape(found['name'] or found['principalId'])}: {word}. {escape(found['reason'])}")
    if found["cure"]:
        out.print(f"[bold]Cure:[/bold] {escape(found['cure'])}", soft_wrap=True)
    if found["assignments"]:
        columns = ("roleName", "scope", "allows", "reason")
        print_rows(columns, [[one[name] for name in columns] for one in found["assignments"]], output)


@group.command("remove")
def remove(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Name of the role.")],
    principal: PrincipalOption,
    scope: ScopeOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Take a role away again. What is assigned further up still holds: `headrace role list` shows all."""
    with Server.find(env_file) as server:
        where = _scope(server, scope or server.variable("HEADRACE_DCR_IMMUTABLE_ID"))
        known, object_id = _role_id(server, where, role), _object_id(server, principal)
        path = f"{where}/providers/Microsoft.Authorization/roleAssignments"
        found = [
            str(one["id"])
            for one in server.arm("GET", path, _VERSION)["value"]
            if one["properties"]["principalId"].lower() == object_id
            and one["properties"]["roleDefinitionId"].rpartition("/")[2].lower()
            == known.rpartition("/")[2].lower()
            and one["properties"]["scope"].lower() == where.lower()
        ]
        if not found:
            message = f"'{principal}' does not have the role '{role}' at {where}."
            raise ProblemError(
                Problem("NoSuchAssignment", message, hint="`headrace role list` shows what there is.")
            )
        for one in found:
            server.arm("DELETE", one, _VERSION)
    console().print(f"{escape(principal)} no longer has the role {escape(role)} here.")


def assign_role(server: Server, role: str, object_id: str, scope: str) -> bool:
    """Give a role by its name at a resource; whether it was not there before. Raises `ProblemError`."""
    properties = {
        "roleDefinitionId": _role_id(server, scope, role),
        "principalId": object_id,
        "principalType": "ServicePrincipal",
    }
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    try:
        server.arm("PUT", path, _VERSION, {"properties": properties})
    except ProblemError as error:
        # Whoever scripts this wants the state, not the step.
        if error.problems[0].code != "RoleAssignmentExists":
            raise
        return False
    return True


def _row(properties: dict[str, Any], names: dict[str, str], apps: dict[str, str]) -> list[str | None]:
    role = properties["roleDefinitionId"].rpartition("/")[2].lower()
    principal = properties["principalId"]
    return [names.get(role, role), apps.get(principal), principal, properties["scope"]]


def _object_id(server: Server, text: str) -> str:
    """The object id of the app of that name or client id; any other GUID as it is. Raises `ProblemError`."""
    apps = _visible_apps(server)
    for app in apps:
        if text.lower() == app["clientId"]:
            return app["principalId"]
    return text.lower() if is_guid(text) else named_app(apps, text)["principalId"]


def _visible_apps(server: Server) -> list[dict[str, str]]:
    """The apps; none for who may give roles and not see apps: names then stand for nothing."""
    try:
        return server.apps()
    except ProblemError as error:
        if error.problems[0].code != "AuthorizationFailed":
            raise
        return []


def _definitions(server: Server, scope: str) -> list[dict[str, Any]]:
    path = f"{scope}/providers/Microsoft.Authorization/roleDefinitions"
    found: list[dict[str, Any]] = server.arm("GET", path, _VERSION)["value"]
    return found


def _role_id(server: Server, scope: str, name: str) -> str:
    known = {item["properties"]["roleName"]: str(item["id"]) for item in _definitions(server, scope)}
    for role, identifier in known.items():
        if role.lower() == name.lower():
            return identifier
    raise ProblemError(
        Problem(
            "NoSuchRole", f"There is no role '{name}'.", hint="Known roles: " + ", ".join(sorted(known)) + "."
        )
    )


def _scope(server: Server, text: str) -> str:
    """A resource id as it is; the id of the rule that an immutableId or a name names."""
    if "/" in text:
        return "/" + text.strip("/")
    return str(server.find_rule(None, text)["id"])
