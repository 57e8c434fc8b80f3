"""Reading user agents: the common browsers, systems and devices."""

from __future__ import annotations

import re
from collections.abc import Callable

from headrace.kql.sql.udf.network import texts
from headrace.kql.sql.udf.values import dump

_BROWSERS = (
    ("AdobeAIR", re.compile(r"AdobeAIR/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Nokia Browser", re.compile(r"NokiaBrowser/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Nokia OSS Browser", re.compile(r"Series60/(\d+)(?:\.(\d+))?()")),
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Opera", re.compile(r"OPR/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Samsung Internet", re.compile(r"SamsungBrowser/(\d+)(?:\.(\d+))?()")),
    ("Firefox", re.compile(r"Firefox/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Chrome Mobile iOS", re.compile(r"CriOS/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Chrome Mobile", re.compile(r"Chrome/(\d+)(?:\.(\d+))?(?:\.(\d+))?[\d.]* Mobile")),
    ("Chrome", re.compile(r"Chrome/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Mobile Safari", re.compile(r"Version/(\d+)(?:\.(\d+))?(?:\.(\d+))?.*Mobile/\S+ Safari")),
    ("Safari", re.compile(r"Version/(\d+)(?:\.(\d+))?(?:\.(\d+))? Safari")),
    ("IE", re.compile(r"MSIE (\d+)(?:\.(\d+))?()")),
    ("IE", re.compile(r"Trident/.*rv:(\d+)(?:\.(\d+))?()")),
    ("curl", re.compile(r"curl/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
    ("Python Requests", re.compile(r"python-requests/(\d+)(?:\.(\d+))?(?:\.(\d+))?")),
)
_SYSTEMS = (
    ("Windows", re.compile(r"Windows NT (\d+)\.(\d+)()()")),
    ("iOS", re.compile(r"(?:iPhone|CPU) OS (\d+)_(\d+)(?:_(\d+))?()")),
    ("Mac OS X", re.compile(r"Mac OS X (\d+)[_.](\d+)(?:[_.](\d+))?()")),
    ("Android", re.compile(r"Android (\d+)(?:\.(\d+))?(?:\.(\d+))?()")),
    ("Chrome OS", re.compile(r"CrOS \S+ (\d+)\.(\d+)(?:\.(\d+))?()")),
    ("Symbian OS", re.compile(r"Symbian(?:OS)?/(\d+)(?:\.(\d+))?(?:\.(\d+))?()")),
    ("Ubuntu", re.compile(r"Ubuntu()()()()")),
    ("Linux", re.compile(r"Linux()()()()")),
)
_NOKIA = re.compile(r"\bNokia ?([A-Za-z]?\d[\w-]*)")
_WINDOWS = {
    ("10", "0"): "10",
    ("6", "3"): "8.1",
    ("6", "2"): "8",
    ("6", "1"): "7",
    ("6", "0"): "Vista",
    ("5", "1"): "XP",
}


def _browser(text: str) -> dict[str, str]:
    for family, pattern in _BROWSERS:
        match = pattern.search(text)
        if match is not None:
            return {
                "Family": family,
                "MajorVersion": match[1] or "",
                "MinorVersion": match[2] or "",
                "Patch": match[3] or "",
            }
    return {"Family": "Other", "MajorVersion": "", "MinorVersion": "", "Patch": ""}


def _system(text: str) -> dict[str, str]:
    for family, pattern in _SYSTEMS:
        match = pattern.search(text)
        if match is not None:
            major, minor = match[1] or "", match[2] or ""
            if family == "Windows":
                major, minor = _WINDOWS.get((major, minor), major), ""
            return {
                "Family": family,
                "MajorVersion": major,
                "MinorVersion": minor,
                "Patch": match[3] or "",
                "PatchMinor": "",
            }
    return {"Family": "Other", "MajorVersion": "", "MinorVersion": "", "Patch": "", "PatchMinor": ""}


def _device(text: str) -> dict[str, str]:
    if re.search(r"bot|crawler|spider", text, re.IGNORECASE):
        return {"Family": "Spider", "Brand": "Spider", "Model": "Desktop"}
    for name in ("iPhone", "iPad"):
        if name in text:
            return {"Family": name, "Brand": "Apple", "Model": name}
    if "Macintosh" in text:
        return {"Family": "Mac", "Brand": "Apple", "Model": "Mac"}
    nokia = _NOKIA.search(text)
    if nokia is not None:
        return {"Family": f"Nokia {nokia[1]}", "Brand": "Nokia", "Model": nokia[1]}
    return {"Family": "Other", "Brand": "", "Model": ""}


_PARTS: dict[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "browser": ("Browser", _browser),
    "os": ("OperatingSystem", _system),
    "device": ("Device", _device),
}


def _parse_user_agent(text: str | None, look_for: str | None = None) -> str | None:
    if not text:
        return None
    wanted = [name.lower() for name in texts([look_for])] if look_for else list(_PARTS)
    made = {_PARTS[name][0]: _PARTS[name][1](text[:2000]) for name in wanted if name in _PARTS}
    return dump(made)


FUNCTIONS: dict[str, Callable[..., str | None]] = {"parse_user_agent": _parse_user_agent}
