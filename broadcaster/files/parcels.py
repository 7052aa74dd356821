"""What a carrier hands over: one file or several, packed or not, whose tables together are one snapshot.

Nothing is ever unpacked to disk. Zip archives may be under a password (the old cipher or AES); what they hold is opened member by
member, and a member's name is only a name: one that points elsewhere is refused, not cleaned.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, NoReturn, cast

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem, RefusedError
from broadcaster.files.prefixes import read_plan
from broadcaster.files.sheets import MAX_BYTES, SheetFile, sheet_names, table_of
from broadcaster.files.sums import DAMAGE, TrailerSum, damaged
from broadcaster.files.workbook import ZIP_MAGIC
from broadcaster.lang import Said
from broadcaster.model import DropReason, Secret
from broadcaster.rules.numbers import mask_in
from broadcaster.text.fold import fold_key

MAX_MEMBERS: Final = 200
MAX_RATIO: Final = 200
"""Text of subscribers packs about tenfold."""
FREE_BYTES: Final = 64 * 1024 * 1024
"""Below this nobody minds how well a member packs."""
MAX_LIST_BYTES: Final = 1024 * 1024
MAX_NAME_CHARS: Final = 100
"""As much as records keep of a file's name."""

_WORKBOOK_MARK: Final = "[Content_Types].xml"
_ENCRYPTED: Final = 0x1
_GZIP_MAGIC: Final = b"\x1f\x8b"
_LITTER: Final = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"(?<![\da-z])(?:part|phan|p)?[ _.-]*(\d{1,3})[ _.-]*(?:of|tren)[ _.-]*(\d{1,3})(?!\d)")
_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_LISTED: Final = re.compile(r"(?:([0-9A-Fa-f]{64})\s+\*?)?(\S.*?)\s*")

Open = Callable[[], "Opened"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A table that is being read, and the sum over what its file held; `close` belongs to whoever opened it."""

    table: SheetFile
    sums: TrailerSum | None
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One table of a parcel."""

    name: str
    """What errors call it: the file, the member, the worksheet."""
    open: Open


@dataclass(frozen=True, slots=True)
class Parcel:
    """All tables of one snapshot, in the order in which they are read."""

    name: str
    sha256: str
    """Of the file as delivered; of the files' sums, sorted, where there are several."""
    files: Mapping[str, str]
    """Name → SHA-256 of each file as delivered."""
    parts: Sequence[Part]


def open_parcel(
    paths: Sequence[Path], *, listed: Path | None = None, sheets: Sequence[str] = (), password: Secret | None = None
) -> Parcel:
    """Return the tables in `paths`, or in the files that the list `listed` names beside it; nothing of them is read yet.

    A list has one file name a line, perhaps after its SHA-256 (the form of sha256sum). `sheets` names the worksheets wanted of every
    workbook; without it all visible ones are read. Raises `ConfigurationError` when a file cannot be read, `InvalidFileError` when a
    part is missing, given twice, or is not what may be opened.
    """
    wanted = _listed_files(listed, paths) if listed else dict.fromkeys(paths)
    files: dict[str, str] = {}
    parts: list[Part] = []
    problems: list[Problem] = []
    for path, stated in wanted.items():
        if any(not isinstance(read_plan().normalise(digits), DropReason) for digits in _DIGITS.findall(path.name)):
            # Lists of rosters and the audit record keep the name for good.
            message = Said("tên tệp có số thuê bao; hãy đổi tên tệp", "the file's name has a subscriber's number; rename the file")
            problems.append(Problem(str(path.with_name(mask_in(path.name))), message))
        found = _sha256(path, follow=listed is None)
        if stated and found != stated.lower():
            problems.append(Problem(str(path), Said("mã SHA-256 không khớp danh mục", "its SHA-256 is not the one in the list")))
        if found in files.values():
            problems.append(Problem(str(path), Said("tệp này được đưa hai lần", "this file is given twice")))
        files[path.name] = found
        parts += _parts_of(path, sheets, password)
    problems += _missing_numbers(str(listed or paths[0]), [*files, *(part.name.rpartition(": ")[2] for part in parts)])
    if problems:
        raise InvalidFileError(problems)
    sums = sorted(files.values())
    together = sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()
    first = next(iter(files))[:MAX_NAME_CHARS]
    return Parcel(first if len(files) == 1 else f"{first} (+{len(files) - 1})", together, files, parts)


def require_inside(folder: Path, paths: Sequence[Path]) -> None:
    """Raise `RefusedError` when one of the files, links followed, does not lie in `folder`."""
    outside = [path for path in paths if not path.resolve().is_relative_to(folder.resolve())]
    if outside:
        names = ", ".join(map(str, outside))
        raise RefusedError(
            Said(f"Tệp nằm ngoài thư mục nhập {folder}: {names}", f"Outside the import folder {folder}: {names}"),
            Said(
                "Chép tệp vào thư mục ấy, hoặc sửa import_folder trong cấu hình.",
                "Put it there, or change import_folder in the settings.",
            ),
        )


def needs_password(paths: Sequence[Path]) -> bool:
    """Tell whether one of the files is a zip archive with a member under a password."""
    return any(member.flag_bits & _ENCRYPTED for path in paths for member in _members_of(path))


def _members_of(path: Path) -> list[zipfile.ZipInfo]:
    """Return what a zip archive holds; nothing for another file."""
    try:
        with path.open("rb") as file:
            if file.read(4) != ZIP_MAGIC:
                return []
            with zipfile.ZipFile(file) as archive:
                return archive.infolist()
    except OSError as error:
        raise _unreadable(path, error) from error
    except DAMAGE:
        _fail(str(path), Said("tệp zip hỏng hoặc bị cắt cụt", "the zip file is damaged or cut short"))


def _listed_files(listed: Path, paths: Sequence[Path]) -> dict[Path, str | None]:
    """Return the files of a list with their sums where it gives them; a name with a folder in it is refused."""
    try:
        with listed.open("rb") as file:
            lines = file.read(MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
    except OSError as error:
        raise _unreadable(listed, error) from error
    except UnicodeDecodeError:
        _fail(str(listed), Said("danh mục không phải tệp chữ UTF-8", "the list is not a UTF-8 text file"))
    found: dict[Path, str | None] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        match = _LISTED.fullmatch(line.strip())
        if not match or line.startswith("#"):
            continue
        name = match[2]
        if not _is_plain_name(name):
            problems.append(Problem(str(listed), _outside(name), number))
        elif not (listed.parent / name).is_file():
            problems.append(Problem(str(listed), Said(f"thiếu tệp {name}", f"the file {name} is missing"), number))
        else:
            found[listed.parent / name] = match[1]
    known = {path.resolve() for path in found}
    unknown = [path for path in paths if path.resolve() not in known]
    problems += [Problem(str(path), Said("không có trong danh mục", "is not in the list")) for path in unknown]
    if not (found or problems):
        problems.append(Problem(str(listed), Said("danh mục không có tệp nào", "the list names no file")))
    if problems:
        raise InvalidFileError(problems)
    return found


def _is_plain_name(name: str) -> bool:
    return name not in {".", ".."} and not re.search(r"[/\\\x00]", name)


def _outside(name: str) -> Said:
    return Said(f"tên trỏ ra ngoài thư mục: {name!r}", f"the name points outside the folder: {name!r}")


def _missing_numbers(where: str, names: Sequence[str]) -> list[Problem]:
    """Return a problem for each part that the names themselves (``…-1-of-3``) say is missing."""
    numbered = [match for name in names for match in _NUMBERED.finditer(fold_key(name))]
    have: dict[int, set[int]] = {}
    for match in numbered:
        have.setdefault(int(match[2]), set()).add(int(match[1]))
    return [
        Problem(where, Said(f"thiếu phần {at} trên {total}", f"part {at} of {total} is missing"))
        for total, found in sorted(have.items())
        for at in range(1, total + 1)
        if at not in found
    ]


def _sha256(path: Path, *, follow: bool) -> str:
    if path.exists() and not path.is_file():
        # A device or a pipe may never end.
        _fail(str(path), Said("không phải tệp thường", "is no regular file"))
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW)), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    reason = error.strerror or type(error).__name__
    return ConfigurationError(Said(f"không đọc được tệp {path}: {reason}", f"cannot read {path}: {reason}"))


def _fail(name: str, message: Said) -> NoReturn:
    raise InvalidFileError([Problem(name, message)]) from None


def _parts_of(path: Path, sheets: Sequence[str], password: Secret | None) -> list[Part]:
    members = _members_of(path)
    if not members:
        if sheets:
            _fail(str(path), Said("không phải sổ Excel nên không có trang tính", "is no workbook, so it has no worksheets"))
        return [Part(str(path), lambda: _open_file(path))]
    if any(member.filename == _WORKBOOK_MARK for member in members):
        return [Part(f"{path}: {sheet}", _sheet_opener(path, sheet)) for sheet in _wanted_sheets(path, sheets)]
    chosen = _tables_among(path, members)
    if password is None and any(member.flag_bits & _ENCRYPTED for member in chosen):
        raise ConfigurationError(
            Said(f"{path}: tệp zip có mật khẩu.", f"{path}: the zip file is under a password."),
            Said(
                "Ghi --password-file hoặc đặt biến BROADCASTER_ROSTER_PASSWORD.",
                "Give --password-file, or set BROADCASTER_ROSTER_PASSWORD.",
            ),
        )
    return [Part(f"{path}: {member.filename}", _member_opener(path, member.filename, password)) for member in chosen]


def _wanted_sheets(path: Path, sheets: Sequence[str]) -> list[str]:
    visible = sheet_names(path)
    if missing := [name for name in sheets if name not in visible]:
        have = ", ".join(visible)
        raise InvalidFileError(
            [
                Problem(
                    str(path), Said(f"thiếu trang tính “{name}”; có: {have}", f"the worksheet “{name}” is missing; there are: {have}")
                )
                for name in missing
            ]
        )
    return list(sheets) or visible


def _tables_among(path: Path, members: Sequence[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Return the members to be read, by name. Raises `InvalidFileError` for what no carrier has a reason to pack."""
    chosen = sorted(
        (member for member in members if not member.filename.endswith("/") and not _LITTER.search(member.filename)),
        key=lambda item: item.filename,
    )
    problems = [Problem(f"{path}: {member.filename}", message) for member in chosen if (message := _objection(member)) is not None]
    if sum(member.file_size for member in chosen) > MAX_BYTES:
        size = MAX_BYTES >> 20
        problems.append(Problem(str(path), Said(f"tệp zip bung ra lớn hơn {size} MiB", f"the zip unpacks to more than {size} MiB")))
    if not 1 <= len(chosen) <= MAX_MEMBERS:
        problems.append(
            Problem(str(path), Said(f"phải có từ 1 đến {MAX_MEMBERS} tệp bên trong", f"must hold 1 to {MAX_MEMBERS} files"))
        )
    if problems:
        raise InvalidFileError(problems)
    return chosen


def _objection(member: zipfile.ZipInfo) -> Said | None:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or re.search(r"[\\\x00]|^[A-Za-z]:", member.filename):
        return _outside(member.filename)
    if stat.S_ISLNK(member.external_attr >> 16):
        return Said("là liên kết, không phải tệp", "is a link, not a file")
    if name.suffix.lower() in {".zip", ".7z", ".rar"}:
        return Said("tệp nén nằm trong tệp nén", "an archive inside an archive")
    if member.file_size > FREE_BYTES and member.file_size > MAX_RATIO * member.compress_size:
        return Said("nén chặt bất thường (bom nén?)", "packed abnormally tight (a zip bomb?)")
    return None


def _sheet_opener(path: Path, sheet: str) -> Open:
    def opened() -> Opened:
        table = table_of(path.open("rb"), f"{path}: {sheet}", sheet=sheet)
        return Opened(table, None, lambda: table.__exit__(None, None, None))

    return opened


def _open_file(path: Path) -> Opened:
    with ExitStack() as stack, _explained(str(path), DAMAGE):
        return _opened(stack.enter_context(path.open("rb")), str(path), stack, DAMAGE)


def _member_opener(path: Path, member: str, password: Secret | None) -> Open:
    def opened() -> Opened:
        # Slow to import, and seldom needed.
        import pyzipper

        # An offset that was damaged makes it seek to where nothing is.
        name, damage = f"{path}: {member}", (*DAMAGE, pyzipper.BadZipFile, OSError)
        with ExitStack() as stack, _explained(name, damage):
            archive = stack.enter_context(pyzipper.AESZipFile(path))
            if password is not None:
                archive.setpassword(password.reveal().encode())
            return _opened(cast("BinaryIO", stack.enter_context(archive.open(member))), name, stack, damage)

    return opened


@contextmanager
def _explained(name: str, damage: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except damage:
        raise damaged(name) from None


def _opened(file: BinaryIO, name: str, stack: ExitStack, damage: tuple[type[Exception], ...]) -> Opened:
    head = file.peek(2)[:2] if hasattr(file, "peek") else b""
    stream = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=file))) if head == _GZIP_MAGIC else file
    sums = TrailerSum(stream, name, damage)
    table = table_of(cast("BinaryIO", sums), name)
    return Opened(table, sums, stack.pop_all().close)
