"""`broadcaster campaign`: from a written order to the proof of what happened."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broadcaster.cli import campaign_remainder, campaign_requeue, campaign_uncertain, opening, output
from broadcaster.cli import campaign_words as words
from broadcaster.cli.commands import Group, Moment, Pair, existing_file, reason_option, reference_argument
from broadcaster.cli.output import Column
from broadcaster.errors import NotFoundError
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.model import Person
    from broadcaster.service.installation import Installation
    from broadcaster.store.campaigns import Campaign

commands = Group(
    "campaign",
    help=say(
        "Một chiến dịch đi qua các bước: plan, submit, approve (đủ chữ ký), schedule; dịch vụ gửi; status, report export, verify.",
        "A campaign goes through plan, submit, approve, schedule; the service sends it; then status, report export, verify.",
    ),
)

_order_file = click.argument(
    "file",
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp lệnh gửi, ví dụ campaigns/toan-tinh.toml.", "The campaign order, such as campaigns/toan-tinh.toml."),
)
_reason = reason_option(in_report=True)


def find_person(installation: Installation, name: str) -> Person:
    """Return a registered person. Raises `NotFoundError`."""
    found = installation.people().get(name)
    if found is None:
        raise NotFoundError(
            Said(f"không có người nào tên “{name}” trong danh sách", f"nobody named “{name}” is registered"),
            Said("xem danh sách: broadcaster person list", "list them with: broadcaster person list"),
        )
    return found


@commands.command(
    "plan",
    help=say(
        "Tính trước một chiến dịch, không lưu và không gửi gì: số thuê bao theo nhà mạng và xã, ai bị loại vì sao, nội dung từng "
        "phần, giờ dự kiến xong, số chữ ký phải có.",
        "Work a campaign out without storing or sending anything: recipients by carrier and commune, who is left out and why, the "
        "texts part by part, when it would finish, the signatures it needs.",
    ),
)
@_order_file
def plan(file: Path) -> None:
    from broadcaster.cli import campaign_plan

    installation = opening.installation()
    made = campaign_plan.draft(installation, file)
    cards, areas = installation.cards(), installation.areas()
    output.answer(campaign_plan.document(made, cards, areas), lambda: campaign_plan.show(made, cards, areas))


@commands.command(
    "submit",
    help=say(
        "Trình một chiến dịch để ký duyệt; từ đây nội dung không sửa được nữa.",
        "Submit a campaign for approval; from here on its content cannot change.",
    ),
)
@_order_file
@click.option(
    "--as",
    "submitter",
    required=True,
    metavar=say("NGƯỜI", "PERSON"),
    help=say(
        "Tên người trình (vai trò operator hoặc author); người trình không được ký duyệt.",
        "Who submits (role operator or author); the submitter may not sign.",
    ),
)
def submit(file: Path, submitter: str) -> None:
    from broadcaster.cli import campaign_plan
    from broadcaster.flow import admit

    installation = opening.installation(submitter)
    person = find_person(installation, submitter)
    made = campaign_plan.draft(installation, file)
    found = admit.submit(
        installation.store, installation.auditor, made, submitter=person, hours=installation.settings.window, now=opening.now()
    )
    needed = words.signatures(made.requirement)
    document = words.campaign_json(found) | {"requirement": words.requirement_json(made.requirement)}

    def show() -> None:
        output.facts(
            {
                say("Chiến dịch", "Campaign"): f"{found.name} (#{found.id})",
                say("Thuê bao sẽ nhận", "Recipients"): made.recipients,
                say("Mã nội dung", "Digest"): found.digest,
                say("Cần chữ ký", "Signatures needed"): needed,
            }
        )

    output.answer(document, show)


@commands.command(
    "approve",
    help=say(
        "Ký duyệt một chiến dịch bằng khóa riêng; đủ chữ ký thì chiến dịch được duyệt.",
        "Sign a campaign with a private key; with the last signature it takes, the campaign is approved.",
    ),
)
@reference_argument()
@click.option(
    "--as",
    "approver",
    required=True,
    metavar=say("NGƯỜI", "PERSON"),
    help=say("Tên người ký (vai trò approver hoặc duty-officer).", "Who signs (role approver or duty-officer)."),
)
@click.option(
    "--key",
    required=True,
    type=existing_file(),
    metavar=say("TỆP", "FILE"),
    help=say("Tệp khóa riêng Ed25519 của người ký, quyền 0600.", "The signer's Ed25519 private key, mode 0600."),
)
def approve(reference: str, approver: str, key: Path) -> None:
    from broadcaster.files.people import read_private_key
    from broadcaster.flow import admit

    installation = opening.installation(approver)
    verdict = admit.approve(
        installation.store,
        installation.auditor,
        reference,
        person=find_person(installation, approver),
        key=read_private_key(key),
        people=installation.people(),
        now=opening.now(),
    )
    output.answer(words.judgement_json(verdict), lambda: words.show_judgement(verdict))


@commands.command(
    "schedule",
    help=say(
        "Lên lịch gửi một chiến dịch đã duyệt. Phải gõ lại số thuê bao sẽ nhận; sai số thì không có gì thay đổi (mã thoát 4).",
        "Schedule an approved campaign. The number of recipients must be typed; with a wrong number nothing changes (exit code 4).",
    ),
)
@reference_argument()
@click.option(
    "--at",
    type=Moment(),
    metavar=say("LÚC", "WHEN"),
    help=say("Giờ bắt đầu, ví dụ 2026-01-31T08:00 (giờ Việt Nam).", "Start, such as 2026-01-31T08:00 (Vietnamese time)."),
)
@click.option(
    "--in",
    "in_s",
    type=click.IntRange(0, 14 * 86_400),
    metavar=say("GIÂY", "SECONDS"),
    help=say("Bắt đầu sau chừng này giây.", "Start this many seconds from now."),
)
@click.option(
    "--yes",
    is_flag=True,
    help=say(
        "Không hỏi; dùng cho kịch bản, phải đi cùng --expect-recipients.",
        "Do not ask; for scripts, together with --expect-recipients.",
    ),
)
@click.option(
    "--expect-recipients",
    type=click.IntRange(0),
    metavar=say("SỐ", "N"),
    help=say(
        "Số thuê bao mà kịch bản chờ đợi; khác thì từ chối.", "The number of recipients the script expects; any other is refused."
    ),
)
def schedule(reference: str, at: dt.datetime | None, in_s: int | None, yes: bool, expect_recipients: int | None) -> None:
    from broadcaster.flow import admit
    from broadcaster.rules.lifecycle import Action, move
    from broadcaster.rules.order import order_from_json
    from broadcaster.store.campaigns import find_campaign

    if at is not None and in_s is not None:
        raise click.UsageError(say("chỉ ghi một trong --at và --in", "give only one of --at and --in"))
    if yes != (expect_recipients is not None):
        raise click.UsageError(say("--yes và --expect-recipients phải đi cùng nhau", "--yes and --expect-recipients belong together"))
    installation = opening.installation()
    with installation.store.read() as connection:
        found = find_campaign(connection, reference)
    # Nobody types a number for a campaign that cannot be scheduled.
    move(found.state, Action.SCHEDULE)
    order = order_from_json(found.content["order"])
    starts_at = at or (opening.now() + dt.timedelta(seconds=in_s) if in_s is not None else order.start)
    if starts_at is None:
        raise click.UsageError(say("lệnh không ghi giờ bắt đầu: thêm --at hoặc --in", "the order names no start: add --at or --in"))
    typed = expect_recipients if expect_recipients is not None else words.typed_recipients(found, installation.areas(), starts_at)
    made = admit.schedule(
        installation.store,
        installation.auditor,
        reference,
        people=installation.people(),
        starts_at=starts_at,
        expect_recipients=typed,
        now=opening.now(),
    )
    output.answer(
        words.campaign_json(made),
        lambda: output.line(
            say(
                f"Đã lên lịch: {made.name} bắt đầu lúc {output.moment(starts_at)}.",
                f"Scheduled: {made.name} starts at {output.moment(starts_at)}.",
            )
        ),
    )


@commands.command(
    "status",
    help=say(
        "Cho biết chiến dịch đi đến đâu, theo từng nhà mạng; mã thoát 3 khi đã kết thúc mà còn tin không rõ đã gửi được chưa, hoặc "
        "có nhà mạng bị chặn.",
        "Tell how far a campaign has come, carrier by carrier; exit code 3 once it has ended with messages of unknown fate or a "
        "halted carrier.",
    ),
)
@reference_argument()
@click.option(
    "--watch",
    is_flag=True,
    help=say(
        "Theo dõi liên tục đến khi chiến dịch kết thúc và không còn biên nhận mới.",
        "Keep watching until the campaign has ended and no new receipt comes.",
    ),
)
@click.option(
    "--quiet-s",
    type=click.FloatRange(0, 86_400),
    default=5.0,
    show_default=True,
    metavar=say("GIÂY", "SECONDS"),
    help=say(
        "Với --watch: thoát khi đã kết thúc và chừng này giây không có biên nhận mới.",
        "With --watch: leave once it has ended and no receipt came for so many seconds.",
    ),
)
def status(reference: str, watch: bool, quiet_s: float) -> int:
    from broadcaster.cli import campaign_watch

    installation = opening.installation()
    found = campaign_watch.follow(installation, reference, quiet_s) if watch else campaign_watch.look(installation, reference)
    output.answer(campaign_watch.document(found), lambda: None if watch else campaign_watch.show(found))
    return campaign_watch.exit_code(found)


@commands.command("list", help=say("Liệt kê các chiến dịch, cũ nhất trước.", "List the campaigns, oldest first."))
def list_campaigns() -> None:
    from broadcaster.rules.lifecycle import STATE_NAMES
    from broadcaster.store.campaigns import campaigns

    with opening.installation().store.read() as connection:
        found = campaigns(connection)
    columns = [
        Column("#", right=True),
        Column(say("Tên", "Name")),
        Column(say("Trạng thái", "State")),
        Column(say("Thuê bao", "Recipients"), right=True),
        Column(say("Trình bởi", "Submitted by")),
        Column(say("Bắt đầu", "Start")),
    ]
    rows = [
        [
            item.id,
            item.name,
            STATE_NAMES[item.state],
            item.recipients,
            item.submitted_by,
            output.moment_of_ms(item.started_ms or item.planned_ms),
        ]
        for item in found
    ]
    output.answer(
        [words.campaign_json(item) for item in found],
        lambda: output.table(columns, rows, empty=Said("Chưa có chiến dịch nào.", "There is no campaign yet.")),
    )


def _control(name: str, about: str, done: Said) -> None:
    """Add one of the verbs that change a campaign's course."""

    @commands.command(name, help=about)
    @reference_argument()
    @_reason
    def act(reference: str, reason: str) -> None:
        from broadcaster.flow import admit

        actions: dict[str, Callable[..., Campaign]] = {"pause": admit.pause, "resume": admit.resume, "cancel": admit.cancel}
        installation = opening.installation()
        found = actions[name](installation.store, installation.auditor, reference, reason=reason, now=opening.now())
        output.answer(words.campaign_json(found), lambda: output.line(f"{found.name}: {done}"))


_control(
    "pause",
    say(
        "Tạm dừng một chiến dịch đang gửi; tin đang trên đường vẫn đi hết.",
        "Pause a running campaign; what is being written is finished.",
    ),
    Said("đã tạm dừng", "paused"),
)
_control("resume", say("Gửi tiếp một chiến dịch đang tạm dừng.", "Go on with a paused campaign."), Said("gửi tiếp", "resumed"))
_control(
    "cancel",
    say(
        "Hủy hẳn một chiến dịch; tin chưa gửi sẽ không bao giờ được gửi.",
        "Cancel a campaign for good; what was not sent never will be.",
    ),
    Said("đã hủy", "cancelled"),
)


commands.add_command(campaign_requeue.requeue)
commands.add_command(campaign_uncertain.commands)
commands.add_command(campaign_remainder.remainder)


@commands.command(
    "verify",
    help=say(
        "Đối chiếu mọi con số của một chiến dịch: nhật ký, chữ ký, tổng số, và từng tin với sổ của nhà mạng nếu có. Mã thoát 1 nếu "
        "có điều gì không khớp.",
        "Verify a campaign: audit chain, signatures, totals, and message by message against the carriers' ledgers where given. Exit "
        "code 1 when anything differs.",
    ),
)
@reference_argument()
@click.option(
    "--ledger",
    "ledgers",
    multiple=True,
    type=Pair(),
    metavar=say("NHÀ_MẠNG=TỆP", "CARRIER=FILE"),
    help=say(
        "Sổ của một nhà mạng giả lập; ghi một lần cho mỗi nhà mạng.", "The ledger of a simulated carrier; once for each carrier."
    ),
)
def verify(reference: str, ledgers: Sequence[tuple[str, str]]) -> int:
    from broadcaster.flow.verify import verify as run_checks

    installation = opening.installation()
    cards = installation.cards()
    checks = run_checks(
        installation.store,
        installation.vault,
        installation.audit_key,
        reference,
        cards=cards,
        people=installation.people(),
        ledgers={opening.find_card(cards, code).code: Path(path) for code, path in ledgers},
    )
    holds = all(check.ok for check in checks)
    document = {
        "campaign": reference,
        "ok": holds,
        "checks": [
            {"id": check.id, "ok": check.ok, "said": str(check.said), "details": [str(item) for item in check.details]}
            for check in checks
        ],
    }
    output.answer(document, lambda: words.show_checks(checks))
    return 0 if holds else 1
