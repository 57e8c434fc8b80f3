"""Times. Formats are .NET's, as far as names and versions need them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Function, Scope
from headrace.arm.templates.syntax import Node
from headrace.arm.templates.values import need_int, need_text, shown
from headrace.clock import to_datetime
from headrace.ids import new_guid

_DURATION = re.compile(
    r"(?P<sign>-?)P(?:(?P<y>\d{1,4})Y)?(?:(?P<m>\d{1,4})M)?(?:(?P<w>\d{1,5})W)?(?:(?P<d>\d{1,6})D)?"
    r"(?:T(?:(?P<h>\d{1,7})H)?(?:(?P<n>\d{1,8})M)?(?:(?P<s>\d{1,9})S)?)?"
)
_FORMAT = re.compile(r"([yMdHhmsftz])\1*|'[^']*'|\\.|.", re.DOTALL)
_WORDS = {
    "ddd": "%a", "dddd": "%A", "MMM": "%b", "MMMM": "%B", "K": "Z", "z": "+0", "zz": "+00", "zzz": "+00:00",
}  # fmt: skip
"""Parts that are no numbers, for `strftime`. All times are UTC."""
_STANDARD = {"u": "yyyy-MM-dd HH:mm:ss'Z'", "d": "MM/dd/yyyy", "s": "yyyy-MM-dd'T'HH:mm:ss"}


def write(moment: datetime, form: str) -> str:
    """A time in a .NET format: the parts of a date and time, quoted texts, other characters, and `u`, `s`, `d`.

    Raises `TemplateError` for a format of a single letter that is none of these.
    """
    if len(form) == 1 and form not in _STANDARD:
        raise TemplateError(
            f"The format '{shown(form)}' is not supported. There are: {', '.join(_STANDARD)}."
        )
    pieces = (match[0] for match in _FORMAT.finditer(_STANDARD.get(form, form)))
    return "".join(_piece(moment, piece) for piece in pieces)


def _piece(moment: datetime, piece: str) -> str:
    if piece in _WORDS:
        return moment.strftime(_WORDS[piece])
    if piece[0] in "'\\" and len(piece) > 1:
        return piece.strip("'") if piece[0] == "'" else piece[1]
    if piece[0] == "f":
        return f"{moment.microsecond:06d}0"[: len(piece)]
    if piece[0] == "t":
        return moment.strftime("%p")[: len(piece)]
    number = {
        "y": moment.year % 100 if len(piece) <= 2 else moment.year,
        "M": moment.month,
        "d": moment.day,
        "H": moment.hour,
        "h": moment.hour % 12 or 12,
        "m": moment.minute,
        "s": moment.second,
    }.get(piece[0])
    # All other characters stand for themselves.
    return piece if number is None else str(number).zfill(len(piece))


def read(name: str, value: Any) -> datetime:
    """An ISO 8601 time; UTC where it does not say."""
    text = need_text(name, value)
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise TemplateError(f"The template function '{name}' cannot read the time '{shown(text)}'.") from None


def _utc_now(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> str:
    _only_in_defaults("utcNow", scope)
    form = need_text("utcNow", run.node(arguments[0], scope)) if arguments else "yyyyMMddTHHmmssZ"
    return write(to_datetime(run.place.now), form)


def _new_guid(_run: Evaluator, _arguments: tuple[Node, ...], scope: Scope) -> str:
    _only_in_defaults("newGuid", scope)
    return new_guid()


def _only_in_defaults(name: str, scope: Scope) -> None:
    if not scope.allow_new:
        raise TemplateError(
            f"The template function '{name}' is not expected at this location: it stands in the defaultValue of a "
            "parameter only."
        )


def _add(_run: Evaluator, arguments: list[Any]) -> str:
    moment = read("dateTimeAdd", arguments[0])
    text = need_text("dateTimeAdd", arguments[1])
    match = _DURATION.fullmatch(text)
    if match is None:
        raise TemplateError(f"The template function 'dateTimeAdd' cannot read the duration '{shown(text)}'.")
    part = {name: int(value or 0) for name, value in match.groupdict().items() if name != "sign"}
    sign = -1 if match["sign"] else 1
    try:
        month = moment.month - 1 + sign * (part["m"] + 12 * part["y"])
        moment = _in_month(moment, moment.year + month // 12, month % 12 + 1)
        moment += sign * timedelta(
            days=part["d"] + 7 * part["w"], hours=part["h"], minutes=part["n"], seconds=part["s"]
        )
    except (ValueError, OverflowError):
        raise TemplateError("The template function 'dateTimeAdd' leaves the years 1 to 9999.") from None
    return write(
        moment, need_text("dateTimeAdd", arguments[2]) if len(arguments) > 2 else "yyyy-MM-ddTHH:mm:ssZ"
    )


def _in_month(moment: datetime, year: int, month: int) -> datetime:
    """The same day of another month, or that month's last."""
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    last = (following - timedelta(days=1)).day
    return moment.replace(year=year, month=month, day=min(moment.day, last))


def _from_epoch(_run: Evaluator, arguments: list[Any]) -> str:
    try:
        moment = datetime.fromtimestamp(need_int("dateTimeFromEpoch", arguments[0]), UTC)
    except (ValueError, OverflowError, OSError):
        raise TemplateError("The template function 'dateTimeFromEpoch' leaves the years 1 to 9999.") from None
    return write(moment, "yyyy-MM-ddTHH:mm:ssZ")


FUNCTIONS = (
    Function("utcNow", 0, 1, lazy=_utc_now),
    Function("newGuid", 0, 0, lazy=_new_guid),
    Function("dateTimeAdd", 2, 3, _add),
    Function("dateTimeFromEpoch", 1, 1, _from_epoch),
    Function("dateTimeToEpoch", 1, 1, lambda _run, a: int(read("dateTimeToEpoch", a[0]).timestamp())),
)
