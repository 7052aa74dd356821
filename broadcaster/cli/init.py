"""`broadcaster init`: make an empty installation."""

from __future__ import annotations

from pathlib import Path

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Command
from broadcaster.lang import say
from broadcaster.model import Environment


def _shipped() -> Path | None:
    """Return the folder whose templates a new installation starts with: the checkout this program runs from, if it does."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "templates").is_dir() else None


@click.command(
    "init",
    cls=Command,
    help=say(
        "Tạo một hệ thống mới, còn trống: thư mục (quyền 0700), các khóa, danh sách người ký, cấu hình và cơ sở dữ liệu.",
        "Make a new, empty installation: folders (mode 0700), vault key, audit key, register of people, settings and database.",
    ),
)
@click.argument(
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar=say("THƯ_MỤC", "FOLDER"),
    help=say("Thư mục chưa có hoặc còn trống.", "A folder that does not exist or is empty."),
)
@click.option(
    "--environment",
    type=click.Choice([item.value for item in Environment]),
    default=Environment.REHEARSAL.value,
    show_default=True,
    help=say(
        "rehearsal: diễn tập, tin mang chữ DIỄN TẬP; live: gửi thật. Không đổi được về sau.",
        "rehearsal: texts carry DIỄN TẬP; live: the public gets them. It cannot be changed later.",
    ),
)
def commands(folder: Path, environment: str) -> None:
    from broadcaster.service.installation import CONFIG_FILE, initialise

    made = initialise(folder, Environment(environment), actor=opening.login(), resources=_shipped())
    config = folder / CONFIG_FILE
    document = {"folder": str(folder), "environment": environment, "config": str(config), "made": [str(path) for path in made]}
    output.answer(document, lambda: _show(folder, config, len(made)))


def _show(folder: Path, config: Path, count: int) -> None:
    output.line(say(f"Đã tạo {count} tệp trong {folder}.", f"{count} files made in {folder}."))
    output.tell(
        say(
            f"Các bước tiếp theo (trong thư mục {folder} không cần ghi --config):\n"
            f"  1. Chép hai tệp vault.key và audit.key ra nơi an toàn khác; mất vault.key là mất danh sách thuê bao.\n"
            f"  2. Sửa thẻ nhà mạng (*.toml) trong {folder / 'carriers'} theo thỏa thuận với nhà mạng.\n"
            f'  3. broadcaster --config {config} person add TÊN --title "..." --role approver --new-key TỆP\n'
            f"  4. broadcaster --config {config} config check\n"
            f"  5. broadcaster --config {config} cell import TỆP, rồi roster import TỆP (xem --help)",
            f"Next steps (inside {folder} no --config is needed):\n"
            f"  1. Keep copies of vault.key and audit.key somewhere safe; without vault.key the rosters are lost.\n"
            f"  2. Edit the carriers' cards (*.toml) in {folder / 'carriers'} as agreed with the carriers.\n"
            f'  3. broadcaster --config {config} person add NAME --title "..." --role approver --new-key FILE\n'
            f"  4. broadcaster --config {config} config check\n"
            f"  5. broadcaster --config {config} cell import FILE, then roster import FILE (see --help)",
        )
    )
