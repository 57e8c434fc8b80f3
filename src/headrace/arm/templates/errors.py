"""What is wrong with a template."""

from __future__ import annotations


class TemplateError(Exception):
    """A template that cannot be deployed. `target` says where, `code` is ARM's; the message has the cure."""

    def __init__(self, message: str, target: str | None = None, code: str = "InvalidTemplate") -> None:
        super().__init__(message)
        self.message = message
        self.target = target
        self.code = code

    def at(self, target: str) -> TemplateError:
        """The same with a place, unless it has one already."""
        return self if self.target else TemplateError(self.message, target, self.code)
