"""The root of the command line: the nouns, the options before them, and the one place where failures become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import click

from broadcaster.cli.commands import WIDTH, Invocation, Noun, Nouns, common_options
from broadcaster.cli.failures import guard_uncaught, report
from broadcaster.cli.vietnamese import translate_click
from broadcaster.lang import Said, say

NOUNS: Final[Mapping[str, Noun]] = {
    "init": Noun(
        "broadcaster.cli.init",
        Said("Tạo một hệ thống mới, còn trống, trong một thư mục.", "Make a new, empty installation in a folder."),
    ),
    "config": Noun(
        "broadcaster.cli.config",
        Said("Kiểm tra cấu hình và mọi tệp mà nó dùng.", "Check the settings and every file they name."),
    ),
    "db": Noun(
        "broadcaster.cli.db",
        Said(
            "Nâng cấp cơ sở dữ liệu; nhận cơ sở dữ liệu được khôi phục.",
            "Bring the database up to date; take over a restored one.",
        ),
    ),
    "area": Noun(
        "broadcaster.cli.area",
        Said("Xem danh mục xã, phường, đặc khu.", "See the communes, wards and the special zone."),
    ),
    "template": Noun(
        "broadcaster.cli.template",
        Said("Xem, soát lỗi và xem trước các mẫu tin cảnh báo.", "List, check and preview the texts of warnings."),
    ),
    "carrier": Noun(
        "broadcaster.cli.carrier",
        Said(
            "Xem thẻ nhà mạng; tạm ngừng hoặc giới hạn tốc độ gửi; nghiệm thu kết nối; chạy nhà mạng giả lập để diễn tập.",
            "See the carriers' cards; pause a carrier or limit its rate; try a connection before it is used; run a simulated carrier "
            "for rehearsals.",
        ),
    ),
    "cell": Noun(
        "broadcaster.cli.cell",
        Said("Nhập danh mục trạm BTS của các nhà mạng.", "Import the carriers' inventories of base stations."),
    ),
    "roster": Noun(
        "broadcaster.cli.roster",
        Said("Nhập và xem danh sách thuê bao đang hoạt động.", "Import and list the rosters of active subscribers."),
    ),
    "optout": Noun(
        "broadcaster.cli.optout",
        Said("Ghi nhận và xem thuê bao từ chối nhận tin.", "Record and list the subscribers who refuse."),
    ),
    "inbox": Noun(
        "broadcaster.cli.inbox",
        Said("Xem và xuất tin báo lừa đảo của người dân.", "See and export the scam reports that people text in."),
    ),
    "subscriber": Noun(
        "broadcaster.cli.subscriber",
        Said("Trả lời người dân hỏi về số máy của chính họ.", "Answer people who ask about their own number."),
    ),
    "hold": Noun(
        "broadcaster.cli.hold",
        Said("Lệnh giữ: không xóa gì khi cơ quan có thẩm quyền yêu cầu giữ.", "Legal holds: what must not be erased."),
    ),
    "person": Noun(
        "broadcaster.cli.person",
        Said("Quản lý người có quyền trình, ký duyệt và khóa của họ.", "Manage who may submit and sign, and their keys."),
    ),
    "vault": Noun(
        "broadcaster.cli.vault",
        Said("Giao khóa kho số thuê bao cho nhiều người giữ; khôi phục khóa.", "Split the vault's key among holders; restore it."),
    ),
    "campaign": Noun(
        "broadcaster.cli.campaign",
        Said(
            "Lập kế hoạch, trình, ký duyệt, lên lịch, theo dõi, đối chiếu chiến dịch.",
            "Plan, submit, approve, schedule, watch and verify campaigns.",
        ),
    ),
    "message": Noun(
        "broadcaster.cli.message",
        Said("Kể chuyện gì đã xảy ra với từng tin.", "Tell what happened to a single message."),
    ),
    "stop-all": Noun(
        "broadcaster.cli.stop",
        Said("Dừng toàn bộ ngay lập tức; gỡ lệnh dừng bằng --lift.", "Stop everything at once; --lift takes that back."),
    ),
    "service": Noun(
        "broadcaster.cli.service",
        Said("Chạy dịch vụ gửi tin và xem nó đang làm gì.", "Run the sending service and see what it does."),
    ),
    "report": Noun(
        "broadcaster.cli.report",
        Said("Xuất báo cáo kết quả của một chiến dịch.", "Export the delivery review of a campaign."),
    ),
}


def root() -> Nouns:
    """Return the command tree in the current language."""
    return Nouns(
        "broadcaster",
        nouns=NOUNS,
        params=common_options(),
        context_settings={"max_content_width": WIDTH, "help_option_names": ["-h", "--help"]},
        help=say(
            "Gửi tin nhắn cảnh báo lừa đảo, đã được ký duyệt, đến thuê bao di động trong các xã được chọn, qua cổng SMPP của các "
            "nhà mạng, và cho thấy kết quả của từng tin.",
            "Send signed scam warnings to the mobile subscribers of chosen communes, through the carriers' SMPP gateways, and show "
            "what became of every single message.",
        ),
        epilog=say(
            "Mã thoát: 0 xong · 1 thất bại · 2 sai cách dùng · 3 kết thúc nhưng có lỗi · 4 bị từ chối (chưa duyệt, ngoài giờ) · "
            "5 cấu hình · 10 cơ sở dữ liệu · 11 đang bị khóa · 12 nhà mạng · 130 bị ngắt.",
            "Exit codes: 0 done · 1 failed · 2 usage · 3 finished with failures · 4 refused (not approved, outside the window) · "
            "5 configuration · 10 database · 11 locked · 12 carrier · 130 interrupted.",
        ),
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Whatever goes wrong is told on stderr; nothing is raised."""
    plain = arguments[: arguments.index("--")] if "--" in arguments else arguments
    asked = Invocation(as_json="--json" in plain, debug="--debug" in plain or bool(os.environ.get("BROADCASTER_DEBUG")))
    guard_uncaught(debug=asked.debug)
    translate_click()
    if not arguments:
        arguments = ["--help"]
    try:
        result = root().main(list(arguments), prog_name="broadcaster", standalone_mode=False, obj=asked)
    except BrokenPipeError:
        # Whoever read our output has gone; the interpreter's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (click.Abort, KeyboardInterrupt, Exception) as error:  # noqa: BLE001  the edge: everything is told, nothing escapes
        return report(error, as_json=asked.as_json, debug=asked.debug)
    return result if isinstance(result, int) else 0
