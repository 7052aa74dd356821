"""How a command fails: one sentence, a hint, every problem of a file, the right exit code; no number and no trace by surprise."""

from __future__ import annotations

import errno
import json
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import click

from broadcaster.errors import BroadcasterError, InvalidFileError, Problem
from broadcaster.lang import Said, say

INTERRUPTED: Final = 130
USAGE: Final = 2
FAILED: Final = 1

_NUMBER: Final = re.compile(r"(?<!\d)(?:\+|00)?(84\d{2}|0\d{3})\d{3,6}(\d{3})(?!\d)")
_PACKAGE: Final = Path(__file__).resolve().parent.parent


class Failure(NamedTuple):
    """A failure as it is told."""

    kind: str
    message: str
    hint: str | None
    problems: tuple[Problem, ...]
    exit_code: int


def hide_numbers(text: str) -> str:
    """Mask whatever may be a subscriber's number: first four and last three digits stay."""
    return _NUMBER.sub(r"\1****\2", text)


def failure_of(error: BaseException) -> Failure:
    """Return how any exception is told."""
    kind = type(error).__name__
    match error:
        case InvalidFileError():
            return Failure(kind, str(error.message), _text(error.hint), error.problems, error.exit_code)
        case BroadcasterError():
            return Failure(kind, str(error.message), _text(error.hint), (), error.exit_code)
        case click.Abort() | KeyboardInterrupt():
            return Failure("Interrupted", say("Đã dừng theo yêu cầu.", "Interrupted."), None, (), INTERRUPTED)
        case click.UsageError():
            return Failure("UsageError", error.format_message(), _see_help(error), (), USAGE)
        case click.ClickException():
            return Failure(kind, error.format_message(), None, (), error.exit_code)
        case OSError() if error.filename is not None or error.errno in _OF_FILES:
            return Failure(kind, _file_fault(error), None, (), FAILED)
        case _:
            return Failure(kind, _unexpected(error), str(_SEE_TRACE), (), FAILED)


_OF_FILES: Final[Mapping[int | None, Said]] = {
    errno.EACCES: Said("người chạy lệnh này không có quyền", "whoever runs this has no permission"),
    errno.EPERM: Said("người chạy lệnh này không có quyền", "whoever runs this has no permission"),
    errno.EROFS: Said("nơi này chỉ đọc, không ghi được", "this place is read-only"),
    errno.ENOSPC: Said("hết chỗ trên đĩa", "no space is left on the disk"),
    errno.ENOENT: Said("không có tệp hoặc thư mục này", "there is no such file or folder"),
    errno.EISDIR: Said("đây là thư mục, không phải tệp", "this is a folder, not a file"),
    errno.ENOTDIR: Said("có một tệp đứng ở chỗ cần thư mục", "a file stands where a folder must be"),
}


def unwritable(path: Path, error: OSError) -> BroadcasterError:
    """Return what to raise where a file that a person asked for cannot be written."""
    reason = _reason(error)
    return BroadcasterError(Said(f"không ghi được {path}: {reason.vi}", f"cannot write {path}: {reason.en}"))


def _reason(error: OSError) -> Said:
    told = error.strerror or type(error).__name__
    return _OF_FILES.get(error.errno, Said(told, told))


def _file_fault(error: OSError) -> str:
    """Say what the file system refused, and where."""
    reason = str(_reason(error))
    if error.filename is None:
        return say(f"không đọc hoặc ghi được một tệp: {reason}.", f"a file cannot be read or written: {reason}.")
    return f"{error.filename}: {reason}."


_SEE_TRACE: Final = Said(
    vi="chạy lại với --debug để xem vết lỗi và gửi cho người bảo trì",
    en="run again with --debug and send the trace to the maintainer",
)


def _text(hint: Said | None) -> str | None:
    return str(hint) if hint else None


def _see_help(error: click.UsageError) -> str | None:
    if error.ctx is None:
        return None
    path = error.ctx.command_path
    return say(f"xem hướng dẫn bằng: {path} --help", f"see: {path} --help")


def _unexpected(error: BaseException) -> str:
    """Name the kind and the place of a fault, never its values."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = f"{Path(frames[-1].filename).relative_to(_PACKAGE)}:{frames[-1].lineno}" if frames else "?"
    kind = type(error).__name__
    return say(f"chương trình gặp lỗi không ngờ tới ({kind}, {place}).", f"the program met an unexpected fault ({kind}, {place}).")


def report(error: BaseException, *, as_json: bool, debug: bool) -> int:
    """Tell the failure on stderr and return the exit code."""
    found = failure_of(error)
    click.echo(hide_numbers(_document(found) if as_json else _talk(found)), err=True)
    if debug and found.exit_code == FAILED:
        click.echo(hide_numbers("".join(traceback.format_exception(error))), err=True)
    return found.exit_code


def _talk(found: Failure) -> str:
    lines = [f"{say('Lỗi', 'Error')}: {found.message}"]
    lines += [f"  {problem}" for problem in found.problems]
    if found.hint:
        lines.append(f"{say('Cách sửa', 'How to fix')}: {found.hint}")
    return "\n".join(lines)


def _document(found: Failure) -> str:
    document: dict[str, Any] = {
        "error": found.kind,
        "message": found.message,
        "hint": found.hint,
        "problems": [problem_json(problem) for problem in found.problems],
        "exit_code": found.exit_code,
    }
    return json.dumps(document, ensure_ascii=False)


def problem_json(problem: Problem) -> dict[str, object]:
    """Return a problem as plain JSON values."""
    return {"file": problem.file, "line": problem.line, "key": problem.key, "message": str(problem.message)}


def guard_uncaught(*, debug: bool) -> None:
    """Make what escapes every `except` (other threads included) follow the same rules."""
    import threading

    def note(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        report(error, as_json=False, debug=debug)

    sys.excepthook = note
    threading.excepthook = lambda found: note(found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback)
