"""What all commands share: click's classes with our options, words and lazy loading, and the values people type."""

from __future__ import annotations

import datetime as dt
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import click

from broadcaster.lang import Said, say
from broadcaster.model import TIMEZONE
from broadcaster.rules.numbers import holds_number

WIDTH: Final = 100


@dataclass(slots=True)
class Invocation:
    """What was asked of the program as a whole; the root context's `obj`."""

    as_json: bool = False
    debug: bool = False
    config: Path | None = None


def invocation() -> Invocation:
    """Return the invocation of the command that is running."""
    found = click.get_current_context().find_root().obj
    assert isinstance(found, Invocation)  # noqa: S101  the root context is made by main.run only
    return found


def _note_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    asked = context.find_root().obj
    if value is not None and isinstance(asked, Invocation):
        asked.config = value


def common_options(*, hidden: bool = False) -> list[click.Parameter]:
    """Return the options that stand before the noun; `hidden` ones are accepted after the verb too, where only --json is shown."""
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar=say("TỆP", "FILE"),
            expose_value=False,
            is_eager=True,
            hidden=hidden,
            callback=_note_config,
            help=say(
                "Tệp cấu hình. Không ghi thì lấy biến môi trường BROADCASTER_CONFIG, rồi broadcaster.toml ở thư mục hiện tại.",
                "The settings file. Without it: the variable BROADCASTER_CONFIG, then broadcaster.toml in the working folder.",
            ),
        ),
        click.Option(
            ["--lang"],
            type=click.Choice(["vi", "en"]),
            envvar=None if hidden else "BROADCASTER_LANG",
            show_envvar=not hidden,
            expose_value=False,
            hidden=hidden,
            help=say(
                "Ngôn ngữ của hướng dẫn, thông báo và báo cáo. Mặc định: vi.",
                "Language of help, messages and reports. Default: vi.",
            ),
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            help=say(
                "In kết quả ra stdout thành một tài liệu JSON, khóa bằng tiếng Anh; lỗi cũng là JSON, ở stderr.",
                "Print the result on stdout as one JSON document with English keys; errors are JSON too, on stderr.",
            ),
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            hidden=hidden,
            help=say(
                "Khi chương trình hỏng, in toàn bộ vết lỗi (số thuê bao vẫn bị che); cũng đặt được bằng BROADCASTER_DEBUG=1.",
                "When the program fails, print the whole trace (numbers stay masked); BROADCASTER_DEBUG=1 sets it too.",
            ),
        ),
    ]


class Command(click.Command):
    """One verb."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("options_metavar", say("[TÙY CHỌN]", "[OPTIONS]"))
        super().__init__(*arguments, **options)
        self.params += common_options(hidden=True)


class Group(click.Group):
    """One noun with its verbs."""

    command_class = Command

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("options_metavar", say("[TÙY CHỌN]", "[OPTIONS]"))
        options.setdefault("no_args_is_help", False)
        options.setdefault("subcommand_metavar", say("LỆNH [THAM SỐ]...", "COMMAND [ARGUMENTS]..."))
        super().__init__(*arguments, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's own signature
        """Keep the order in which a person meets the verbs."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's own signature
        with formatter.section(say("Lệnh", "Commands")):
            formatter.write_dl([(name, _first_clause(command.help or "")) for name, command in self.commands.items()])


def _first_clause(text: str) -> str:
    return re.split(r"[.:;] ", text)[0].rstrip(".") + "."


class Noun(NamedTuple):
    """Where a noun's commands live, and what it is about."""

    module: str
    about: Said


class Nouns(Group):
    """The root: loads a noun's module only when the noun is used, so that help stays fast."""

    def __init__(self, *arguments: Any, nouns: Mapping[str, Noun], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._nouns = nouns

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's own signature
        return list(self._nouns)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's own signature
        if cmd_name not in self._nouns:
            return None
        found = importlib.import_module(self._nouns[cmd_name].module).commands
        assert isinstance(found, click.Command)  # noqa: S101  our own table of modules
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's own signature
        with formatter.section(say("Lệnh", "Commands")):
            formatter.write_dl([(name, str(noun.about)) for name, noun in self._nouns.items()])


class Moment(click.ParamType[dt.datetime]):
    """A moment as people write it: ISO 8601, Asia/Ho_Chi_Minh unless it says otherwise; becomes UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        try:
            at = dt.datetime.fromisoformat(str(value))
            return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(TIMEZONE))).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            wanted = say("cần thời điểm dạng 2026-01-31T08:00 (giờ Việt Nam)", "a moment such as 2026-01-31T08:00 (Vietnamese time)")
            self.fail(wanted, param, ctx)


class Day(click.DateTime):
    """A day as people write it, year or day first; becomes its midnight, without a zone."""

    name = "day"

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d", "%d-%m-%Y", "%d/%m/%Y"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            wanted = say("cần một ngày có thật, dạng 2026-01-31 hoặc 31-01-2026", "a real day such as 2026-01-31 or 31-01-2026")
            self.fail(wanted, param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """``name=value``."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        left, equals, right = str(value).partition("=")
        if not (left and equals):
            self.fail(say("cần dạng tên=giá trị", "must be of the form name=value"), param, ctx)
        return left, right


class StatusCode(click.ParamType[int]):
    """A command_status of SMPP, decimal or ``0x`` and hexadecimal."""

    name = "status"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,9}", str(value)):
            self.fail(say("cần một mã dạng 0x45 hoặc 69", "a code such as 0x45 or 69"), param, ctx)
        return int(str(value), 16 if str(value)[:2].lower() == "0x" else 10)


class Reason(click.ParamType[str]):
    """Why a person ordered something: some text, without any subscriber's number, as audit chain and reports keep it for good."""

    name = "reason"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not text:
            self.fail(say("cần ghi lý do, không để trống", "a reason is needed, not an empty text"), param, ctx)
        if holds_number(text):
            self.fail(
                say(
                    "trong lý do có dãy từ 9 chữ số trở lên, có thể là số máy; bỏ số máy, chỉ ghi số và ngày của văn bản",
                    "a row of nine digits or more stands in the reason; it may be a phone number: leave it out, give a document's "
                    "number and date",
                ),
                param,
                ctx,
            )
        return text


def existing_file() -> click.Path:
    """Return the type of an argument that names a file to be read."""
    return click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def reason_option(*, in_report: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option by which a person says why; `in_report` where a campaign's report shows it as well."""
    about = Said("Lý do, ghi vào nhật ký.", "Why; it goes into the audit chain.")
    if in_report:
        about = Said("Lý do, ghi vào nhật ký và báo cáo.", "Why; it goes into the audit chain and the report.")
    return click.option("--reason", required=True, type=Reason(), metavar=say("LÝ_DO", "TEXT"), help=str(about))


def reference_argument() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the argument by which a command names a campaign."""
    return click.argument(
        "reference",
        metavar=say("CHIẾN_DỊCH", "CAMPAIGN"),
        help=say(
            "Tên hoặc số thứ tự của chiến dịch, xem bằng `campaign list`.",
            "The campaign's name or number, as `campaign list` shows it.",
        ),
    )
