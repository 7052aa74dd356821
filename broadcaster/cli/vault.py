"""`broadcaster vault`: the key that makes subscribers' numbers readable, kept safe by several persons."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, existing_file
from broadcaster.errors import InvalidFileError
from broadcaster.lang import say
from broadcaster.model import TIMEZONE

commands = Group(
    "vault",
    help=say(
        "Khóa của kho số thuê bao: mất khóa thì không đọc lại được số nào.",
        "The key of the subscribers' numbers: without it none can be read again.",
    ),
)


@commands.command(
    "escrow",
    help=say(
        "Chia khóa thành nhiều tờ khôi phục để in, mỗi người giữ một tờ; chỉ khi đủ số tờ mới ghép lại được khóa. In xong, giao "
        "xong thì xóa các tệp. Việc này được ghi vào nhật ký.",
        "Split the key into recovery sheets to be printed, one for each holder; only enough of them together give the key back. "
        "Delete the files once printed and handed out. It is audited.",
    ),
)
@click.option(
    "--shares",
    type=int,
    required=True,
    metavar=say("SỐ_TỜ", "N"),
    help=say("Chia cho bao nhiêu người giữ, nhiều nhất 16.", "Among how many holders, 16 at most."),
)
@click.option(
    "--threshold",
    type=int,
    required=True,
    metavar=say("SỐ_TỜ", "K"),
    help=say("Cần bao nhiêu tờ để khôi phục, ít nhất 2.", "How many sheets give the key back, 2 at least."),
)
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar=say("THƯ_MỤC", "FOLDER"),
    help=say("Thư mục nhận các tờ, nên là USB tháo rời.", "Where the sheets go; best a removable disk."),
)
def escrow(shares: int, threshold: int, folder: Path) -> None:
    from broadcaster.files.recovery import grouped
    from broadcaster.flow import escrow as flow

    here = opening.installation()
    today = opening.now().astimezone(ZoneInfo(TIMEZONE)).date()
    key_file = here.settings.vault_key_file
    made = flow.escrow(here.store, here.auditor, key_file, folder, shares=shares, threshold=threshold, today=today)

    def show() -> None:
        output.line(
            say(
                f"Đã ghi {shares} tờ khôi phục vào {folder}; cần {threshold} tờ để khôi phục.",
                f"{shares} recovery sheets written to {folder}; {threshold} give the key back.",
            )
        )
        output.line(say("Dấu vân tay của khóa: ", "Fingerprint of the key: ") + grouped(here.vault.fingerprint))
        output.tell(
            say(
                "In từng tờ, giao tận tay từng người giữ, thử lại bằng `vault recover --dry-run`, rồi xóa các tệp này.",
                "Print each sheet, hand it over in person, try them with `vault recover --dry-run`, then delete these files.",
            )
        )

    document = {"sheets": [str(path) for path in made], "threshold": threshold, "fingerprint": here.vault.fingerprint}
    output.answer(document, show)


@commands.command(
    "recover",
    help=say(
        "Ghép lại khóa từ các tờ khôi phục, đối chiếu với cơ sở dữ liệu và ghi tệp khóa nếu chưa có. Không ghi TỆP thì lần lượt gõ "
        "các từ của từng tờ. Việc này được ghi vào nhật ký.",
        "Put the key together from recovery sheets, hold it against the database, and write the key file if there is none. Without "
        "FILE the words of each sheet are asked for. It is audited.",
    ),
)
@click.argument(
    "files",
    nargs=-1,
    type=existing_file(),
    metavar=say("[TỆP]...", "[FILE]..."),
    help=say("Các tờ khôi phục, hoặc tệp chỉ chứa các từ.", "The recovery sheets, or files with nothing but the words."),
)
@click.option(
    "--dry-run",
    is_flag=True,
    help=say("Chỉ thử xem các tờ có ghép được đúng khóa không, không ghi tệp khóa.", "Only try the sheets; no key file is written."),
)
def recover(files: Sequence[Path], dry_run: bool) -> None:
    from broadcaster.files.recovery import grouped, read_sheet
    from broadcaster.flow import escrow as flow
    from broadcaster.service.installation import AUDIT_KEY_FILE
    from broadcaster.store.audit import Auditor
    from broadcaster.store.engine import open_store
    from broadcaster.store.vault import read_key_file

    settings = opening.installed_settings()
    key_file = settings.vault_key_file
    auditor = Auditor(read_key_file(key_file.with_name(AUDIT_KEY_FILE)), opening.login())
    store = open_store(settings.database_url)
    sheets = [read_sheet(path) for path in files] if files else _typed()
    fingerprint = flow.recover(store, auditor, key_file, sheets, dry_run=dry_run)

    def show() -> None:
        if dry_run:
            output.line(say("Các tờ này ghép được đúng khóa.", "These sheets give the right key."))
        else:
            output.line(say(f"Đã khôi phục khóa vào {key_file}.", f"The key is restored to {key_file}."))
        output.line(say("Dấu vân tay của khóa: ", "Fingerprint of the key: ") + grouped(fingerprint))

    output.answer({"fingerprint": fingerprint, "dry_run": dry_run, "key_file": None if dry_run else str(key_file)}, show)


def _typed() -> list[str]:
    """Ask for the words of one sheet after the other until there are enough; what was mistyped is asked for again at a terminal."""
    from broadcaster.files.recovery import checked, threshold_of

    sheets: dict[str, None] = {}
    needed = 2
    while len(sheets) < needed:
        source = say(f"Tờ {len(sheets) + 1}", f"Sheet {len(sheets) + 1}")
        given = str(click.prompt(say(f"{source}, gõ các từ trên một dòng", f"{source}, its words on one line"), err=True))
        try:
            words = checked(given, source)
        except InvalidFileError as error:
            if not sys.stdin.isatty():
                raise
            output.tell(str(error))
            continue
        needed = threshold_of(words)
        sheets[words] = None
    if sys.stdin.isatty():
        output.tell(say("Xong thì xóa màn hình này: các từ còn hiện ở trên.", "Clear this screen afterwards: it shows the words."))
    return list(sheets)
