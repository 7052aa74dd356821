"""Templates that can do nothing but put declared values into a text.

A source is parsed by jinja2 and then held against a list of the few things allowed: literal text, declared names, and filters
without arguments from `FILTERS`. Everything else is refused before anything runs; the sandbox is the second wall, not the first.
Values are data: they are checked against their rule and never read as a template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2 import Template as JinjaTemplate
from jinja2.sandbox import ImmutableSandboxedEnvironment

from broadcaster.errors import ConfigurationError
from broadcaster.lang import Said
from broadcaster.text.finding import Finding, Severity
from broadcaster.text.fold import fold, nfc

MAX_SOURCE_CHARS: Final = 2000
FILTERS: Final[Mapping[str, Callable[[str], str]]] = {"fold": fold, "upper": str.upper}


class ValueKind(StrEnum):
    """What a variable holds."""

    TEXT = "text"
    DIGITS = "digits"


@dataclass(frozen=True, slots=True)
class VariableRule:
    """What a declared variable may hold. Text is letters, digits, single spaces and `punctuation`."""

    kind: ValueKind
    max_length: int
    """In characters of NFC."""
    punctuation: str = ".,-/()"

    def findings(self, name: str, value: str) -> list[Finding]:
        """Return what is wrong with `value` for the variable `name`."""
        value = nfc(value)
        found = []
        if not value or value != " ".join(value.split()):
            found.append(
                _error(
                    "value-blank",
                    f"{name}: không được trống, không có dấu cách thừa hay xuống dòng",
                    f"{name}: must not be empty nor hold stray spaces or line breaks",
                )
            )
        if len(value) > self.max_length:
            found.append(
                _error(
                    "value-length", f"{name}: không được quá {self.max_length} ký tự", f"{name}: at most {self.max_length} characters"
                )
            )
        strange = sorted({char for char in value if not self._allows(char)})
        if strange:
            shown = " ".join(f"U+{ord(char):04X}" for char in strange)
            found.append(
                _error("value-characters", f"{name}: ký tự không được phép: {shown}", f"{name}: characters not allowed: {shown}")
            )
        return found

    def _allows(self, char: str) -> bool:
        if self.kind is ValueKind.DIGITS:
            return char.isascii() and char.isdigit()
        return char.isalnum() or char == " " or char in self.punctuation


class InvalidTemplateError(ConfigurationError):
    """A template, or the values for it, are not as they must be; everything found is listed."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(Said("; ".join(found.message.vi for found in findings), "; ".join(found.message.en for found in findings)))


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template that passed every check."""

    source: str
    declared: Mapping[str, VariableRule]
    used: frozenset[str]
    """Names of the variables the source shows."""
    _jinja: JinjaTemplate

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text with `values` in place, in NFC; there must be one for each declared variable and none besides.

        Raises `InvalidTemplateError` with everything wrong with the values.
        """
        found = [*self._unmatched(values)]
        for name in sorted(self.declared.keys() & values.keys()):
            found += self.declared[name].findings(name, values[name])
        if found:
            raise InvalidTemplateError(found)
        return nfc(self._jinja.render({name: nfc(values[name]) for name in self.used}))

    def _unmatched(self, values: Mapping[str, str]) -> Iterator[Finding]:
        for name in sorted(self.declared.keys() - values.keys()):
            yield _error("value-missing", f"{name}: thiếu giá trị", f"{name}: value is missing")
        for name in sorted(values.keys() - self.declared.keys()):
            listed = ", ".join(sorted(self.declared)) or "–"
            yield _error(
                "value-unknown",
                f"{name}: biến không được khai báo; các biến: {listed}",
                f"{name}: not a declared variable; variables: {listed}",
            )


def compile_template(source: str, declared: Mapping[str, VariableRule]) -> Compiled:
    """Check `source` against what is allowed and make it ready to render. Raises `InvalidTemplateError` with everything found."""
    if len(source) > MAX_SOURCE_CHARS:
        vi, en = f"mẫu tin dài quá {MAX_SOURCE_CHARS} ký tự", f"the template is longer than {MAX_SOURCE_CHARS} characters"
        raise InvalidTemplateError([_error("template-length", vi, en)])
    source = nfc(source)
    environment = _environment()
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        raise _unreadable(error.message or "") from None
    except RecursionError:
        raise _unreadable("nested too deeply") from None
    found = list(_forbidden(tree, declared))
    if found:
        raise InvalidTemplateError(found)
    used = frozenset(name.name for name in tree.find_all(nodes.Name))
    return Compiled(source, dict(declared), used, environment.from_string(tree))


def _unreadable(detail: str) -> InvalidTemplateError:
    return InvalidTemplateError([_error("template-syntax", f"sai cú pháp mẫu tin ({detail})", f"template syntax: {detail}")])


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, cache_size=0)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters.clear()
    environment.filters.update(FILTERS)
    return environment


def _forbidden(node: nodes.Node, declared: Mapping[str, VariableRule]) -> Iterator[Finding]:
    match node:
        case nodes.Name(name=name, ctx="load"):
            # jinja2 gives `self` a meaning of its own, declared or not.
            if name not in declared or name == "self":
                listed = ", ".join(sorted(declared)) or "–"
                yield _error(
                    "template-variable",
                    f"biến {name} không được khai báo; các biến: {listed}",
                    f"variable {name} is not declared; variables: {listed}",
                )
        case nodes.Filter(name=name, args=[], kwargs=[], dyn_args=None, dyn_kwargs=None, node=nodes.Node()) if name in FILTERS:
            yield from _forbidden_below(node, declared)
        case nodes.Template() | nodes.Output():
            yield from _forbidden_below(node, declared)
        case nodes.TemplateData() | nodes.Const():
            pass
        case nodes.Filter(name=name):
            allowed = ", ".join(sorted(FILTERS))
            yield _error(
                "template-filter",
                f"bộ lọc {name} không được phép; chỉ được dùng, không kèm tham số: {allowed}",
                f"filter {name} is not allowed; only these, without arguments: {allowed}",
            )
        case _:
            kind = type(node).__name__
            yield _error(
                "template-construct",
                f"mẫu tin chỉ gồm chữ và {{{{ biến }}}}; không được dùng {kind} (dòng {node.lineno})",
                f"a template is text and {{{{ variables }}}} only; {kind} is not allowed (line {node.lineno})",
            )


def _forbidden_below(node: nodes.Node, declared: Mapping[str, VariableRule]) -> Iterator[Finding]:
    for child in node.iter_child_nodes():
        yield from _forbidden(child, declared)


def _error(rule: str, vi: str, en: str) -> Finding:
    return Finding(rule, Severity.ERROR, Said(vi, en))
