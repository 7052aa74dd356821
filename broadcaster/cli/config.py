"""`broadcaster config`: are the settings and all they name as they must be?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group
from broadcaster.cli.failures import problem_json
from broadcaster.errors import BroadcasterError, InvalidFileError, Problem
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.files.settings import Settings

commands = Group("config", help=say("Cấu hình của hệ thống.", "The installation's settings."))


@dataclass(slots=True)
class _Findings:
    """What the check found: `problems` must be mended, `notes` are for a person to know, `seen` is what was read."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[Said] = field(default_factory=list)
    seen: dict[str, object] = field(default_factory=dict)

    def attempt(self, what: str, place: Path | str, read: Callable[[], Any]) -> None:
        """Read one thing; what is wrong with it joins the problems."""
        try:
            self.seen[what] = read()
        except InvalidFileError as error:
            self.problems += error.problems
        except BroadcasterError as error:
            self.problems.append(Problem(str(place), error.message))


@commands.command(
    "check",
    help=say(
        "Kiểm tra cấu hình, thẻ nhà mạng, mẫu tin, người ký, các xã, tệp khóa, cơ sở dữ liệu; báo mọi lỗi một lần (mã thoát 5).",
        "Check settings, carriers' cards, templates, people, communes, key files and database; all problems at once (exit code 5).",
    ),
)
def check() -> None:
    settings = opening.settings()
    found = _Findings()
    found.attempt("carriers", settings.carriers_folder, lambda: len(opening.cards_of(settings)))
    found.attempt("cell_profiles", settings.carriers_folder, lambda: _cell_profiles(settings))
    found.attempt("refusal_footer", settings.reply_card, lambda: _refusal_footer(settings))
    found.attempt("refusals_journal", settings.refusals_journal, lambda: _journal(settings, found))
    found.attempt("templates", settings.templates_folder, lambda: _templates(settings, found))
    found.attempt("areas", "areas", _areas)
    started = _database(settings, found)
    _people(settings, found, needed=started)
    _keys(settings, found, needed=started)
    _alarms(settings, found)
    if found.problems:
        raise InvalidFileError(found.problems)
    path = opening.config_path()
    document = {
        "config": str(path) if path else None,
        "environment": settings.environment,
        **found.seen,
        "problems": [problem_json(problem) for problem in found.problems],
        "notes": [str(note) for note in found.notes],
    }
    output.answer(document, lambda: _show(document, found))


def _templates(settings: Settings, found: _Findings) -> int:
    from broadcaster.files.templates import lint_template, read_templates
    from broadcaster.text.finding import Severity

    templates = read_templates(settings.templates_folder)
    for template in templates:
        for item in lint_template(template):
            place = str(settings.templates_folder / f"{template.key}.toml")
            if item.finding.severity is Severity.ERROR:
                found.problems.append(Problem(place, item.finding.message, key=item.key))
    return len(templates)


def _cell_profiles(settings: Settings) -> int:
    from broadcaster.files.cellprofile import PROFILES_FOLDER, read_profile

    return len([read_profile(path) for path in sorted((settings.carriers_folder / PROFILES_FOLDER).glob("*.toml"))])


def _refusal_footer(settings: Settings) -> str:
    """Return the sentence that tells people how to refuse."""
    from broadcaster.model import Variant
    from broadcaster.text.compose import footer_for

    return footer_for(Variant.ACCENTED, *opening.footer_of(settings)) or ""


def _journal(settings: Settings, found: _Findings) -> str:
    """Compare the journal of refusals with the database, where there are both to be."""
    from broadcaster.store.engine import Store, open_store
    from broadcaster.store.journal import Journal
    from broadcaster.store.refusals import compare

    journal = Journal(settings.refusals_journal)
    if not settings.vault_key_file.exists():
        return "ok"
    journal.check()
    path = Store(settings.database_url).path
    if path is not None and not path.exists():
        return "ok"
    store = open_store(settings.database_url)
    try:
        with store.read() as connection:
            compared = compare(connection, journal)
    finally:
        store.close()
    for count, vietnamese, english in (
        (len(compared.unwritten), "lời từ chối có trong cơ sở dữ liệu mà không có trong sổ", "entries of the database are not in it"),
        (len(compared.forgotten), "lời từ chối có trong sổ mà cơ sở dữ liệu không có", "entries of it are not in the database"),
    ):
        if count:
            found.notes.append(
                Said(
                    f"{journal.path}: {count} {vietnamese}; dịch vụ khởi động (hoặc `broadcaster db adopt`) sẽ bổ sung.",
                    f"{journal.path}: {count} {english}; the service's start (or `broadcaster db adopt`) adds them.",
                )
            )
    if compared.damaged:
        message = Said("dòng bị sửa hoặc hỏng, không dùng được", "the line was altered or is damaged, and cannot be used")
        raise InvalidFileError([Problem(str(journal.path), message, line) for line in compared.damaged])
    return "ok"


def _areas() -> int:
    from broadcaster.files.areas import read_areas

    return len(read_areas())


def _database(settings: Settings, found: _Findings) -> bool:
    """Check the database if there is one; tell whether there is."""
    from broadcaster.store.engine import Store, missing_database, open_store

    def version() -> str:
        open_store(settings.database_url).close()
        return "ok"

    try:
        path = Store(settings.database_url).path
    except BroadcasterError as error:
        found.problems.append(Problem("database_url", error.message))
        return True
    if path is not None and not path.exists() and settings.vault_key_file.exists():
        found.problems.append(Problem(str(path), missing_database(path).message))
        return True
    if path is not None and not path.exists():
        found.notes.append(
            Said(
                f"Chưa có cơ sở dữ liệu {path}; `broadcaster init` tạo ra nó.",
                f"There is no database {path} yet; `broadcaster init` makes one.",
            )
        )
        return False
    found.attempt("database", path or "database_url", version)
    return True


def _people(settings: Settings, found: _Findings, *, needed: bool) -> None:
    from broadcaster.files.people import read_people

    if settings.people_file.exists() or needed:
        found.attempt("people", settings.people_file, lambda: len(read_people(settings.people_file)))
    else:
        found.notes.append(_absent(settings.people_file))


def _keys(settings: Settings, found: _Findings, *, needed: bool) -> None:
    from broadcaster.service.installation import AUDIT_KEY_FILE
    from broadcaster.store.vault import read_key_file

    def sound(path: Path) -> str:
        read_key_file(path)
        return "ok"

    for what, path in (("vault_key", settings.vault_key_file), ("audit_key", settings.vault_key_file.with_name(AUDIT_KEY_FILE))):
        if path.exists() or needed:
            found.attempt(what, path, lambda path=path: sound(path))  # type: ignore[misc]
        else:
            found.notes.append(_absent(path))


def _alarms(settings: Settings, found: _Findings) -> None:
    import shutil

    command = settings.alarms.command
    if command and shutil.which(command[0]) is None:
        message = Said(f"không chạy được chương trình {command[0]}", f"the program {command[0]} cannot be run")
        found.problems.append(Problem(str(opening.config_path()), message, key="alarms.command"))
    if not command and not settings.alarms.webhook:
        found.notes.append(Said("Báo động chỉ được ghi vào nhật ký.", "Alarms go to the log only."))


def _absent(path: Path) -> Said:
    return Said(f"Chưa có {path}; `broadcaster init` tạo ra nó.", f"There is no {path} yet; `broadcaster init` makes it.")


def _show(document: dict[str, Any], found: _Findings) -> None:
    words = {
        "carriers": say("thẻ nhà mạng", "carriers' cards"),
        "templates": say("mẫu tin", "templates"),
        "areas": say("xã, phường, đặc khu", "communes"),
        "people": say("người có quyền", "people"),
        "database": say("cơ sở dữ liệu", "database"),
        "refusal_footer": say("cách từ chối ở cuối tin", "how to refuse, at the end of texts"),
        "cell_profiles": say("cách đọc danh mục trạm", "profiles of cell inventories"),
        "refusals_journal": say("sổ từ chối", "journal of refusals"),
        "vault_key": say("khóa mã hóa số thuê bao", "vault key"),
        "audit_key": say("khóa nhật ký", "audit key"),
    }
    output.line(say(f"Môi trường: {document['environment']}", f"Environment: {document['environment']}"))
    for what, value in found.seen.items():
        output.line(f"  ✓ {words[what]}" + (f": {value}" if isinstance(value, int) else ""))
    for note in found.notes:
        output.tell(f"  ! {note}")
