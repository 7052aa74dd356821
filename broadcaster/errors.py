"""One tree of errors. Each class carries the exit code a script may rely on; each instance says what a person should do.

Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failures, 4 refused (not approved, outside the window), 5 configuration,
10 store, 11 locked, 12 carrier, 130 interrupted. A carrier's expected refusal is a value (`Verdict`), never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from broadcaster.lang import Said


class BroadcasterError(Exception):
    """Carry a sentence in both languages, an optional hint, and the exit code of its class."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: Said, hint: Said | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return str(self.message)


class NotFoundError(BroadcasterError):
    """Something named on the command line does not exist."""

    exit_code = 2


class RefusedError(BroadcasterError):
    """The rules forbid it: not approved, outside the window, wrong state, too many recipients."""

    exit_code = 4


class ConfigurationError(BroadcasterError):
    """A file or setting is not as it must be."""

    exit_code = 5


class StoreError(BroadcasterError):
    """The database is missing, unsound, of another version, or cannot be written."""

    exit_code = 10


class LockedError(BroadcasterError):
    """Another process holds what this one needs."""

    exit_code = 11


class CarrierError(BroadcasterError):
    """A carrier cannot be reached or refuses the connection."""

    exit_code = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one file: where, and what was expected.

    `line` is 1-based where the format has lines, `key` a dotted path where it has keys.
    """

    file: str
    message: Said
    line: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        where = self.file + (f":{self.line}" if self.line else "")
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class InvalidFileError(ConfigurationError):
    """A file has problems; all of them are listed at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        names = ", ".join(sorted({problem.file for problem in self.problems}))
        super().__init__(
            Said(
                vi=f"{names}: {count} lỗi",
                en=f"{names}: {count} problem" + ("s" if count != 1 else ""),
            )
        )

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
