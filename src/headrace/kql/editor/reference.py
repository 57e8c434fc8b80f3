"""Every diagnostic's code with its meaning and cure."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.kql.editor.model import Severity


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """A code, what it says, and the cure."""

    code: str
    severity: Severity
    meaning: str
    cure: str


_ERRORS = (
    (
        "KQL0001",
        "A character or an unclosed string that no token fits.",
        "Close the quote, or remove the character.",
    ),
    ("KQL0002", "The syntax wants something else at this place.", "Put what the message names."),
    ("KQL0003", "The text is longer than what is taken.", "Shorten it to 1,000,000 characters."),
    (
        "KQL0004",
        "The text nests too deep, chains too much or grows too large.",
        "Name parts with `let`, or split the text.",
    ),
    (
        "KQL0005",
        "A whole number is out of the range of a long.",
        "Write it as `real(...)` or `decimal(...)`.",
    ),
    (
        "KQL0006",
        "A typed literal's content is no value of its type.",
        "Correct it, or convert with `to...()`.",
    ),
    (
        "KQL0007",
        "A management command stands where a query is taken.",
        "Remove the leading dot, or use the ARM API.",
    ),
    (
        "KQL0008",
        "There is no operator of that name.",
        "See the operator reference; the message names the nearest.",
    ),
    ("KQL0101", "A table stands where a single value is expected.", "Take one value with `toscalar()`."),
    ("KQL0102", "An expression's types do not fit.", "Convert one of the values."),
    ("KQL0103", "The name is a table or a function, not a value.", "Use `toscalar()`, or call the function."),
    (
        "KQL0104",
        "There is no column of that name here.",
        "The message names the nearest column; names are case-sensitive.",
    ),
    ("KQL0105", "A property or element of a value that is not dynamic.", "Use `parse_json()` first."),
    ("KQL0106", "The construct is not supported.", "Write it another way."),
    ("KQL0107", "There is no function of that name.", "The message names the nearest function."),
    ("KQL0108", "A plugin has no option of that name.", "The message names the nearest option."),
    ("KQL0109", "A call's number or types of arguments do not fit.", "See the function's signatures."),
    ("KQL0110", "A function that makes several columns stands in an expression.", "Let it stand alone."),
    ("KQL0111", "An aggregate stands outside of `summarize` and its like.", "Put it in a `summarize`."),
    ("KQL0112", "An aggregate stands inside an aggregate.", "Use two `summarize` operators."),
    ("KQL0113", "A condition is expected.", "Compare the value with something."),
    ("KQL0114", "A constant is expected.", "Write the value, or name it with `let`."),
    ("KQL0115", "Several names are given to one value.", "Give one name."),
    ("KQL0116", "A column is made twice.", "Give one of them another name."),
    ("KQL0117", "`project-rename` takes only `new = old`.", "Use `project` or `extend` to compute."),
    ("KQL0118", "A number of rows is below 0.", "Give 0 or more."),
    (
        "KQL0119",
        "The start, end and step do not fit together.",
        "Use numbers, or times with a timespan as step.",
    ),
    (
        "KQL0120",
        "The values of a `datatable` do not fill its rows.",
        "Give a value for each column of each row.",
    ),
    ("KQL0121", "The pattern is no regular expression (RE2).", "The message says why."),
    ("KQL0122", "An operator has no such option.", "See the operator's options."),
    ("KQL0123", "A property of `render` is no constant.", "Write a constant."),
    ("KQL0124", "More names are given than an aggregate makes columns.", "Give fewer names."),
    (
        "KQL0125",
        "A column stands in `summarize` without an aggregate.",
        "Add it to `by`, or use `take_any()`.",
    ),
    ("KQL0126", "A join has no `on`.", "Name the columns to match."),
    ("KQL0127", "An operator has no such kind.", "The message lists the kinds."),
    (
        "KQL0128",
        "A join's condition is of another form.",
        "Use a column of both sides, or `$left.a == $right.b`.",
    ),
    (
        "KQL0129",
        "The types of a join's keys do not fit, or a dynamic value is a key.",
        "Convert one of them before the join, a dynamic one as by `tostring()`.",
    ),
    ("KQL0130", "A table or query is expected.", "Give a table, a query in parentheses or a name for one."),
    ("KQL0131", "There is no such table.", "The message names the nearest table."),
    ("KQL0132", "The name is a value, not a table.", "Use it in an expression."),
    ("KQL0133", "A table given to a function lacks a column that it declares.", "Give it the column."),
    ("KQL0134", "There is no such workspace.", "Give its name, id or resource id."),
    ("KQL0135", "A function has no result.", "End its body with an expression."),
    (
        "KQL0136",
        "A call of a user's function does not fit its parameters.",
        "See the function's declaration.",
    ),
    ("KQL0137", "A query parameter has no value.", "Give one with the query, or a default."),
    ("KQL0138", "Only dynamic values are spread over rows.", "Use `parse_json()` or `split()` first."),
    ("KQL0139", "The text has no tabular expression.", "End it with a query."),
    ("KQL0140", "A saved function has problems of its own.", "Mend the saved function."),
    (
        "KQL0141",
        "The steps of `scan` are none, all without output, or begin with an optional one.",
        "Add `step s: true;`.",
    ),
    (
        "KQL0142",
        "The data would make too many columns.",
        "Filter the rows first, or give the plugin a schema.",
    ),
    ("KQL0143", "A sub-query reads what differs from row to row.", "Use a `join`."),
    ("KQL0144", "A name is declared twice.", "Choose another name for one of the two."),
    ("KQL0201", "The surface does not take the function.", "The message says why."),
    ("KQL0202", "The surface does not take the operator.", "The message says why."),
    ("KQL0203", "What is asked for is refused.", "The message says why."),
    ("KQL0204", "A result's column has a type that no table can hold.", "Convert it, as by `tostring()`."),
    ("KQL0205", "A transform has several tabular expressions.", "Keep one; name the others with `let`."),
)
_WARNINGS = (
    ("KQL0301", "A window function runs over rows without an order.", "Put `sort` or `serialize` before."),
    (
        "KQL0302",
        "Azure's list for transforms does not have it.",
        "Avoid it if the rule is to run in Azure too.",
    ),
    ("KQL0303", "Rows are ordered by a dynamic value.", "Convert it first."),
    ("KQL0304", "A `set` statement has no effect.", "Remove it."),
    ("KQL0305", "Only the first column of a sub-query is used.", "Choose it with `project`."),
    ("KQL0306", "A search without tables reads only the first ones.", "Name the tables."),
    ("KQL0307", "Values of different types are compared.", "Convert one of them."),
    ("KQL0308", "`contains` looks inside words where `has` would do.", "Use `has` if the term stands alone."),
    ("KQL0309", "The name of an argument has no effect.", "Leave the name out."),
    (
        "KQL0310",
        "A transform's `project` gives a column twice by the same expression; it counts once.",
        "Remove one of them: Azure refuses it.",
    ),
    ("KQL0311", "`externaldata` is checked and never read.", "Send its rows to a table."),
    ("KQL0321", "A comparison changes the letter case of every value.", "Use `=~` or `!~`."),
    ("KQL0322", "A stored time is compared with one moment.", "Use a range."),
    ("KQL0323", "Rows are grouped by a stored time as it is.", "Group by `bin()` of it."),
    ("KQL0324", "A side of a join reads all time.", "Filter it by `TimeGenerated`."),
    ("KQL0325", "A `join` without a kind drops duplicate left keys.", "Say the kind."),
    ("KQL0326", "`union *` reads every table.", "Name the tables."),
)


ERROR_CODES = tuple(
    ErrorCode(code, severity, meaning, cure)
    for severity, listed in ((Severity.ERROR, _ERRORS), (Severity.WARNING, _WARNINGS))
    for code, meaning, cure in listed
)
"""All codes in their order: syntax, binding, surface, warnings."""
