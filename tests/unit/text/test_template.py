from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.text.template import MAX_SOURCE_CHARS, InvalidTemplateError, ValueKind, VariableRule, compile_template

RULES = {"ten": VariableRule(ValueKind.TEXT, 20), "so": VariableRule(ValueKind.DIGITS, 4)}

HOSTILE = {
    "attribute": "{{ ten.__class__.__mro__ }}",
    "item": "{{ ten['x'] }}",
    "call": "{{ ten.format(1) }}",
    "global": "{{ lipsum.__globals__ }}",
    "cycler": "{{ cycler }}",
    "self": "{{ self }}",
    "attr filter": "{{ ten|attr('__class__') }}",
    "map filter": "{{ ten|map('upper') }}",
    "filter with argument": "{{ ten|upper(1) }}",
    "arithmetic": "{{ 9 ** 9 ** 9 }}",
    "repetition": "{{ 'a' * 999999999 }}",
    "concatenation": "{{ ten ~ ten }}",
    "condition": "{{ 'a' if ten else 'b' }}",
    "loop": "{% for c in ten %}{{ c }}{% endfor %}",
    "assignment": "{% set ten = 'x' %}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "extends": "{% extends 'x' %}",
    "macro": "{% macro m() %}{% endmacro %}",
    "block": "{% block b %}{% endblock %}",
    "filter block": "{% filter upper %}a{% endfilter %}",
    "test": "{{ ten is defined }}",
    "list": "{{ [ten] }}",
    "tuple": "{{ ten, so }}",
    "comparison": "{{ ten == so }}",
    "undeclared": "{{ khac }}",
    "unclosed": "{{ ten",
    "nested": "{{" + "(" * 900 + "ten" + ")" * 900 + "}}",
    "huge": "a" * (MAX_SOURCE_CHARS + 1),
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_templates_are_refused(source: str) -> None:
    with pytest.raises(InvalidTemplateError) as caught:
        compile_template(source, RULES)
    assert all(found.message.vi and found.message.en for found in caught.value.findings)


def test_jinja_self_is_refused_even_when_declared() -> None:
    with pytest.raises(InvalidTemplateError):
        compile_template("{{ self }}", {"self": RULES["ten"]})


def test_every_fault_is_listed() -> None:
    with pytest.raises(InvalidTemplateError) as caught:
        compile_template("{{ khac }} {{ ten.x }} {{ ten|safe }}", RULES)
    assert [found.rule for found in caught.value.findings] == ["template-variable", "template-construct", "template-filter"]


def test_values_fill_in_and_filters_apply() -> None:
    compiled = compile_template("TB: {{ ten }} {{ ten|fold|upper }} {{ so }}.", RULES)
    assert compiled.used == {"ten", "so"}
    assert compiled.render({"ten": "Đa cấp", "so": "0012"}) == "TB: Đa cấp DA CAP 0012."


def test_result_is_nfc_whatever_came_in() -> None:
    source = unicodedata.normalize("NFD", "Cảnh báo {{ ten }}")
    value = unicodedata.normalize("NFD", "lừa đảo")
    assert compile_template(source, RULES).render({"ten": value, "so": "1"}) == "Cảnh báo lừa đảo"


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ({"ten": "a"}, ["value-missing"]),
        ({"ten": "a", "so": "1", "la": "x"}, ["value-unknown"]),
        ({"ten": "", "so": "1"}, ["value-blank"]),
        ({"ten": "a  b", "so": "1"}, ["value-blank"]),
        ({"ten": "a\nb", "so": "1"}, ["value-blank", "value-characters"]),
        ({"ten": "a" * 21, "so": "1"}, ["value-length"]),
        ({"ten": "{{ so }}", "so": "1"}, ["value-characters"]),
        ({"ten": "a\u200bb", "so": "1"}, ["value-characters"]),
        ({"ten": "a", "so": "1a"}, ["value-characters"]),
        ({"ten": "a", "so": "٣"}, ["value-characters"]),
        ({"ten": "<" * 21, "so": "12345"}, ["value-length", "value-length", "value-characters"]),
    ],
)
def test_values_are_checked(values: dict[str, str], rules: list[str]) -> None:
    compiled = compile_template("{{ ten }} {{ so }}", RULES)
    with pytest.raises(InvalidTemplateError) as caught:
        compiled.render(values)
    assert sorted(found.rule for found in caught.value.findings) == sorted(rules)


@given(st.text(alphabet=st.sampled_from("{}%#|ten_."), min_size=1, max_size=12))
def test_values_are_data_and_never_templates(value: str) -> None:
    free = {"ten": VariableRule(ValueKind.TEXT, 20, punctuation="{}%#|_.")}
    assert compile_template("<{{ ten }}>", free).render({"ten": value}) == f"<{value}>"


@given(st.text(alphabet=st.sampled_from("{}%#|ten _.()'*1"), max_size=30))
def test_no_source_makes_anything_but_a_refusal_or_a_text(source: str) -> None:
    try:
        compiled = compile_template(source, RULES)
    except InvalidTemplateError:
        return
    text = compiled.render({"ten": "Z", "so": "7"})
    assert len(text) <= len(source)
