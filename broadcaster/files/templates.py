"""Read the department's templates: one TOML file each, its stem is the key.

A file holds ``version``, ``title``, ``purpose``, ``tactic`` and ``quote`` (of the directive's text), a ``[provenance]`` table,
the two spellings ``accented`` and ``unaccented``, and a ``[variables.<name>]`` table for every variable the texts use.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.files.tomlfile import Table, load
from broadcaster.lang import Said
from broadcaster.model import Variant
from broadcaster.text.compose import Spellings, compose, footer_for
from broadcaster.text.finding import Finding, Severity
from broadcaster.text.lint import TextRules, lint, lint_spellings
from broadcaster.text.template import Compiled, InvalidTemplateError, ValueKind, VariableRule, compile_template

SAMPLE_REPLY_NUMBER: Final = "0000"
"""Stands for the reply number when a template is measured; the real ones have four digits too."""

_KEY: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Purpose(StrEnum):
    """What a template is for."""

    WARNING = "warning"
    CORRECTION = "correction"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Provenance:
    """The document that stands behind a template's content."""

    document: str
    date: dt.date
    authority: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A value the campaign order fills in."""

    rule: VariableRule
    example: str


@dataclass(frozen=True, slots=True)
class Template:
    """One approved wording in both spellings."""

    key: str
    version: int
    title: str
    tactic: str | None
    """Number of the tactic among those the directive names, ``T01`` to ``T13``; None for corrections and drills."""
    quote: str
    """The words of the provenance document this template carries out."""
    provenance: Provenance
    purpose: Purpose
    variables: Mapping[str, Variable]
    accented: Compiled
    unaccented: Compiled

    def of(self, variant: Variant) -> Compiled:
        return self.accented if variant is Variant.ACCENTED else self.unaccented

    def render(self, variant: Variant, values: Mapping[str, str]) -> str:
        """Return the body in one spelling. Raises `InvalidTemplateError` with everything wrong with the values."""
        return self.of(variant).render(values)


@dataclass(frozen=True, slots=True)
class TemplateFinding:
    """One finding, with the template's key and the key of its file (``accented`` or ``unaccented``) it is about."""

    template: str
    key: str
    finding: Finding

    def __str__(self) -> str:
        return f"{self.template}: {self.key}: {self.finding}"


_Line = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\n]*$")]


class _ProvenanceTable(Table):
    document: _Line
    date: dt.date
    authority: _Line


class _VariableTable(Table):
    kind: ValueKind = ValueKind.TEXT
    max_length: int = Field(ge=1, le=100)
    example: _Line


class _TemplateTable(Table):
    version: int = Field(ge=1)
    title: _Line
    purpose: Purpose
    tactic: str | None = Field(default=None, pattern=r"^T\d{2}$")
    quote: _Line
    provenance: _ProvenanceTable
    accented: _Line
    unaccented: _Line
    variables: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")], _VariableTable] = Field(default_factory=dict)


def read_template(path: Path) -> Template:
    """Read one template. Raises `ConfigurationError` or, with every problem of the file, `InvalidFileError`."""
    table = load(path, _TemplateTable)
    name = str(path)
    variables = {key: Variable(VariableRule(row.kind, row.max_length), row.example) for key, row in table.variables.items()}
    problems = [*_table_problems(path, table, variables)]
    rules = {key: variable.rule for key, variable in variables.items()}
    texts: dict[str, Compiled] = {}
    for key, source in (("accented", table.accented), ("unaccented", table.unaccented)):
        try:
            texts[key] = compile_template(source, rules)
        except InvalidTemplateError as error:
            problems += [Problem(name, found.message, key=key) for found in error.findings]
    if problems:
        raise InvalidFileError(problems)
    return Template(
        key=path.stem,
        version=table.version,
        title=table.title,
        tactic=table.tactic,
        quote=table.quote,
        provenance=Provenance(table.provenance.document, table.provenance.date, table.provenance.authority),
        purpose=table.purpose,
        variables=variables,
        accented=texts["accented"],
        unaccented=texts["unaccented"],
    )


def read_templates(folder: Path) -> list[Template]:
    """Read every ``*.toml`` in `folder`, by name. Raises `InvalidFileError` with the problems of all files together."""
    if not folder.is_dir():
        raise ConfigurationError(Said(vi=f"không có thư mục mẫu tin {folder}", en=f"no such template folder: {folder}"))
    templates: list[Template] = []
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            templates.append(read_template(path))
        except InvalidFileError as error:
            problems += error.problems
    if problems:
        raise InvalidFileError(problems)
    return templates


def lint_template(template: Template, *, max_parts_accented: int = 4, forbidden: str = "") -> list[TemplateFinding]:
    """Return everything found in both spellings of `template` at their longest: with rehearsal mark, refusal footer and full values.

    The unaccented spelling must fit one part, the accented one `max_parts_accented`.
    """
    found = [*_lint_variables(template)]
    longest = {name: _widest(variable) for name, variable in template.variables.items()}
    for variant in Variant:
        rules = TextRules(
            variant=variant,
            rehearsal=True,
            footer=footer_for(variant, SAMPLE_REPLY_NUMBER),
            max_parts=1 if variant is Variant.UNACCENTED else max_parts_accented,
            forbidden=forbidden,
        )
        text = compose(template.render(variant, longest), variant=variant, rehearsal=True, footer=rules.footer)
        found += [TemplateFinding(template.key, variant.value, finding) for finding in lint(text, rules)]
    examples = {name: variable.example for name, variable in template.variables.items()}
    pair = Spellings(template.accented.render(examples), template.unaccented.render(examples))
    found += [TemplateFinding(template.key, "unaccented", finding) for finding in lint_spellings(pair)]
    return found


def _table_problems(path: Path, table: _TemplateTable, variables: Mapping[str, Variable]) -> Iterator[Problem]:
    name = str(path)
    if not _KEY.fullmatch(path.stem):
        yield Problem(
            name,
            Said(
                vi="tên tệp chỉ gồm chữ thường không dấu, số và gạch nối",
                en="a file name has lower-case plain letters, digits and hyphens only",
            ),
        )
    if table.purpose is Purpose.WARNING and table.tactic is None:
        message = Said(vi="tin cảnh báo phải nêu thủ đoạn, ví dụ T01", en="a warning must name its tactic, such as T01")
        yield Problem(name, message, key="tactic")
    for key, variable in variables.items():
        for found in variable.rule.findings(key, variable.example):
            yield Problem(name, found.message, key=f"variables.{key}.example")


def _lint_variables(template: Template) -> Iterator[TemplateFinding]:
    for variant in Variant:
        for name in sorted(template.variables.keys() - template.of(variant).used):
            message = Said(vi=f"biến {name} không được dùng", en=f"variable {name} is not used")
            yield TemplateFinding(template.key, variant.value, Finding("unused-variable", Severity.ERROR, message))


def _widest(variable: Variable) -> str:
    """Return a value of the greatest length the rule allows, accented so that a forgotten fold shows."""
    return ("1" if variable.rule.kind is ValueKind.DIGITS else "ạ") * variable.rule.max_length
