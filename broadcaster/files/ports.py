"""Read a list of ported numbers: number, network that serves it now, since when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.moments import BAD_TIME, Moments
from broadcaster.files.prefixes import read_plan
from broadcaster.files.sheets import open_table
from broadcaster.lang import Said
from broadcaster.model import CarrierCode, DropReason
from broadcaster.text.fold import fold_key

_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "msisdn": frozenset({"msisdn", "so_thue_bao", "so_dien_thoai", "isdn", "so_may"}),
    "rno": frozenset({"rno", "recipient", "mang_den", "mang_nhan", "nha_mang_moi", "nha_mang"}),
    "effective_at": frozenset({"effective_at", "effective", "hieu_luc", "hieu_luc_tu", "ngay_chuyen", "thoi_diem_chuyen"}),
}
_TITLE_ROWS: Final = 40
_MIDNIGHT: Final = " 00:00"
_DAY_CHARS: Final = 10


@dataclass(frozen=True, slots=True)
class PortRow:
    """One number (international form) and the carrier that serves it from `effective_s` (epoch seconds) on."""

    number: int
    carrier: CarrierCode
    effective_s: int


class PortTable:
    """The rows of one file; what could not be read is counted by reason, with the lines of the first few."""

    def __init__(self, path: Path, networks: Mapping[str, CarrierCode]) -> None:
        """Prepare to read `path`; `networks` maps the names that networks go by, as `network_names` gives them, to carriers."""
        self.path, self._networks = path, networks
        self.rows = 0
        self.problems: list[Problem] = []
        """One for each row that could not be read."""

    def __iter__(self) -> Iterator[PortRow]:
        """Yield the good rows. Raises `ConfigurationError` or `InvalidFileError` as `open_table` does, and for a missing column."""
        moments = Moments()
        with open_table(self.path) as table:
            rows = iter(table)
            places = self._places(rows)
            for line, row in rows:
                self.rows += 1
                fields = [row[at].strip() if at < len(row) else "" for at in places]
                found = self._read(line, fields, moments)
                if found:
                    yield found

    def _places(self, rows: Iterator[tuple[int, list[str]]]) -> list[int]:
        missing = list(_ALIASES)
        first_line = 1
        for (line, row), _ in zip(rows, range(_TITLE_ROWS), strict=False):
            names = ["_".join(fold_key(field).replace(".", " ").replace("_", " ").split()) for field in row]
            found = {column: [at for at, name in enumerate(names) if name in aliases] for column, aliases in _ALIASES.items()}
            lacking = [column for column, at in found.items() if len(at) != 1]
            if not lacking:
                return [found[column][0] for column in _ALIASES]
            if len(lacking) < len(missing):
                missing, first_line = lacking, line
        expected = ", ".join(missing)
        message = Said(
            f"dòng tiêu đề phải có đúng một cột cho mỗi tên: {expected}",
            f"the header must have exactly one column for each of: {expected}",
        )
        raise InvalidFileError([Problem(str(self.path), message, first_line)])

    def _read(self, line: int, fields: Sequence[str], moments: Moments) -> PortRow | None:
        number = read_plan().normalise(fields[0])
        carrier = self._networks.get(fold_key(fields[1]))
        effective_s = moments.read(fields[2] if len(fields[2]) > _DAY_CHARS else fields[2] + _MIDNIGHT)
        if isinstance(number, DropReason):
            self._note(line, "msisdn", Said("không phải số di động Việt Nam", "not a Vietnamese mobile number"))
        elif carrier is None:
            known = ", ".join(sorted(set(self._networks.values())))
            self._note(line, "rno", Said(f"không rõ mạng; cần một trong: {known}", f"unknown network; expected one of: {known}"))
        elif effective_s == BAD_TIME:
            self._note(line, "effective_at", Said("phải là ngày hoặc thời điểm", "must be a date or a moment"))
        else:
            return PortRow(int(number), carrier, effective_s)
        return None

    def _note(self, line: int, key: str, message: Said) -> None:
        self.problems.append(Problem(str(self.path), message, line, key))


def network_names(cards: Mapping[CarrierCode, tuple[str, str]]) -> dict[str, CarrierCode]:
    """Return every name under which a file may mean a carrier: code, name, MNC (``04``, ``4``, ``45204``, ``452-04``).

    `cards` maps codes to (name, MNC).
    """
    found: dict[str, CarrierCode] = {}
    for code, (name, mnc) in cards.items():
        for spelt in (code, name, mnc, str(int(mnc)), f"452{mnc}", f"452-{mnc}", f"452 {mnc}"):
            found.setdefault(fold_key(spelt), code)
    return found
