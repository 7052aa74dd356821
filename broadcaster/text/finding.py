"""What the checks of a text have to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broadcaster.lang import Said


class Severity(StrEnum):
    """Whether a text may go out in spite of the finding."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in one text."""

    rule: str
    """Stable short name of the rule, for scripts: ``call-to-action``."""
    severity: Severity
    message: Said
    index: int | None = None
    """Where in the text as it was given, in characters from 0."""

    def __str__(self) -> str:
        return str(self.message)
