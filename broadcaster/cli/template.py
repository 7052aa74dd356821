"""`broadcaster template`: the approved wordings, checked and shown as they will reach a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from broadcaster.cli import opening, output
from broadcaster.cli.commands import Group, Pair
from broadcaster.cli.output import Column
from broadcaster.lang import Said, say

if TYPE_CHECKING:
    from broadcaster.files.templates import Template, TemplateFinding
    from broadcaster.model import CarrierCard, Variant
    from broadcaster.text.segment import Segments

commands = Group("template", help=say("Các mẫu tin cảnh báo đã được duyệt nội dung.", "The approved wordings of warnings."))


def _key_argument(*, many: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    about = (
        say(
            "Khóa mẫu tin (tên tệp không đuôi) hoặc số thủ đoạn như T01; không ghi là tất cả.",
            "Key of a template (its file name without ending) or a tactic such as T01; none means all.",
        )
        if many
        else say(
            "Khóa mẫu tin (tên tệp không đuôi) hoặc số thủ đoạn như T01.",
            "Key of the template (its file name without ending) or a tactic such as T01.",
        )
    )
    return click.argument(
        "keys" if many else "key",
        nargs=-1 if many else 1,
        metavar=say("[MẪU]...", "[KEY]...") if many else say("MẪU", "KEY"),
        help=about,
    )


@commands.command(
    "list",
    help=say(
        "Liệt kê các mẫu tin, thủ đoạn mà mỗi mẫu cảnh báo và văn bản làm căn cứ.",
        "List the templates, the tactic each warns of and the document behind it.",
    ),
)
def list_templates() -> None:
    from broadcaster.files.templates import read_templates

    templates = read_templates(opening.settings().templates_folder)
    document = [
        {
            "key": item.key,
            "version": item.version,
            "title": item.title,
            "purpose": item.purpose,
            "tactic": item.tactic,
            "quote": item.quote,
            "document": item.provenance.document,
            "date": item.provenance.date,
            "authority": item.provenance.authority,
            "variables": {
                name: {"kind": rule.rule.kind, "max_length": rule.rule.max_length, "example": rule.example}
                for name, rule in item.variables.items()
            },
        }
        for item in templates
    ]
    columns = [
        Column(say("Mẫu", "Key")),
        Column(say("Thủ đoạn", "Tactic")),
        Column(say("Tiêu đề", "Title")),
        Column(say("Biến", "Variables")),
        Column(say("Căn cứ", "Document")),
    ]
    rows = [[item.key, item.tactic, item.title, ", ".join(item.variables) or None, item.provenance.document] for item in templates]
    output.answer(document, lambda: output.table(columns, rows))


@commands.command(
    "lint",
    help=say(
        "Soát từng mẫu tin ở dạng dài nhất, có dấu và không dấu; mã thoát 1 nếu còn lỗi.",
        "Check each template at its longest, accented and unaccented; exit code 1 when an error is left.",
    ),
)
@_key_argument(many=True)
def lint_templates(keys: Sequence[str]) -> int:
    from broadcaster.files.templates import lint_template, read_templates
    from broadcaster.text.finding import Severity

    templates = read_templates(opening.settings().templates_folder)
    chosen = [opening.find_template(templates, key) for key in keys] if keys else templates
    found = [finding for template in chosen for finding in lint_template(template)]
    errors = sum(item.finding.severity is Severity.ERROR for item in found)
    document = {
        "templates": [template.key for template in chosen],
        "errors": errors,
        "findings": [finding_json(item) for item in found],
    }
    output.answer(document, lambda: _show_findings(len(chosen), found, errors))
    return 1 if errors else 0


def finding_json(item: TemplateFinding) -> dict[str, object]:
    """Return a finding as plain JSON values."""
    finding = item.finding
    return {
        "template": item.template,
        "key": item.key,
        "rule": finding.rule,
        "severity": finding.severity,
        "index": finding.index,
        "message": str(finding),
    }


def _show_findings(templates: int, found: Sequence[TemplateFinding], errors: int) -> None:
    words = {"error": say("lỗi", "error"), "warning": say("lưu ý", "note")}
    for item in found:
        output.line(f"{words[item.finding.severity]}: {item}")
    output.line(
        say(
            f"Đã soát {templates} mẫu tin: {errors} lỗi, {len(found) - errors} lưu ý.",
            f"{templates} templates checked: {errors} errors, {len(found) - errors} notes.",
        )
    )


@commands.command(
    "preview",
    help=say(
        "Cho xem nội dung sẽ đến máy, có dấu và không dấu: kiểu mã, độ dài, chỗ ngắt từng phần.",
        "Show the text as it will reach a phone, accented and unaccented: coding, length, where its parts are cut.",
    ),
)
@_key_argument(many=False)
@click.option(
    "--carrier",
    metavar=say("MÃ", "CODE"),
    help=say(
        "Xét theo thẻ của nhà mạng này, ví dụ viettel: số phần tối đa, ký tự bị cấm, cách ghép phần.",
        "Judge by this carrier's card, such as viettel: greatest number of parts, forbidden characters, how parts are tied.",
    ),
)
@click.option(
    "--set",
    "values",
    multiple=True,
    type=Pair(),
    metavar=say("TÊN=GIÁ_TRỊ", "NAME=VALUE"),
    help=say(
        "Điền một biến của mẫu; ghi nhiều lần được. Không ghi thì lấy giá trị ví dụ của mẫu.",
        "Fill in one variable; may be repeated. The template's example is taken otherwise.",
    ),
)
def preview(key: str, carrier: str | None, values: Sequence[tuple[str, str]]) -> int:
    from broadcaster.files.templates import read_templates
    from broadcaster.model import Environment, Variant
    from broadcaster.text.finding import Severity

    settings = opening.settings()
    template = opening.find_template(read_templates(settings.templates_folder), key)
    card = opening.find_card(opening.cards_of(settings), carrier) if carrier else None
    number, alternative = opening.footer_of(settings)
    given = {name: variable.example for name, variable in template.variables.items()} | dict(values)
    views = [
        _View(
            template,
            variant,
            given,
            card,
            rehearsal=settings.environment is Environment.REHEARSAL,
            number=number,
            alternative=alternative,
        )
        for variant in Variant
    ]
    document = {
        "template": template.key,
        "title": template.title,
        "carrier": carrier,
        "values": given,
        "variants": [view.document() for view in views],
    }
    output.answer(document, lambda: _show_views(template, views))
    return 1 if any(finding.severity is Severity.ERROR for view in views for finding in view.findings) else 0


class _View:
    """One spelling of a template as a carrier will get it."""

    def __init__(
        self,
        template: Template,
        variant: Variant,
        values: dict[str, str],
        card: CarrierCard | None,
        *,
        rehearsal: bool,
        number: str | None,
        alternative: Any,
    ) -> None:
        from broadcaster.rules.wire import cut, text_rules
        from broadcaster.text.compose import compose, footer_for
        from broadcaster.text.lint import TextRules, lint
        from broadcaster.text.segment import segment

        footer = footer_for(variant, number, alternative)
        self.variant = variant
        self.text = compose(template.render(variant, values), variant=variant, rehearsal=rehearsal, footer=footer)
        self.segments: Segments = cut(self.text, card) if card else segment(self.text)
        plain = TextRules(variant, rehearsal, footer)
        self.findings = lint(self.text, text_rules(card, variant, rehearsal=rehearsal, footer=footer) if card else plain)

    def document(self) -> dict[str, object]:
        return {
            "variant": self.variant,
            "text": self.text,
            "coding": self.segments.coding,
            "units": self.segments.units,
            "room_left": self.segments.room_left,
            "parts": list(self.segments.parts),
            "findings": [{"rule": item.rule, "severity": item.severity, "message": str(item)} for item in self.findings],
        }


def _show_views(template: Template, views: Sequence[_View]) -> None:
    names = {"accented": Said("Có dấu", "Accented"), "unaccented": Said("Không dấu", "Unaccented")}
    output.line(f"{template.key} · {template.title}")
    for view in views:
        output.line()
        show_text(str(names[view.variant]), view.segments)
        for finding in view.findings:
            output.line(f"  ! {finding}")


def show_text(name: str, segments: Segments) -> None:
    """Print one text with its size and the places where its parts are cut."""
    count = len(segments.parts)
    units = output.number(segments.units)
    size = say(
        f"{count} phần, {units} đơn vị mã {segments.coding.upper()}, còn chỗ {segments.room_left}",
        f"{count} part{'s' if count > 1 else ''}, {units} units of {segments.coding.upper()}, room for {segments.room_left}",
    )
    output.line(f"{name}: {size}")
    for place, part in enumerate(segments.parts, 1):
        output.line(f"  [{place}/{count}] {part}")
