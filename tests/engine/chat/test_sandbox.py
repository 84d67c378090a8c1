from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Generator

import pytest

from llmos.engine.chat import ChatFormat
from llmos.errors import TemplateError
from llmos.messages import Message
from tests.engine.chat.attacks import BOMBS, BURDENS, ESCAPES
from tests.engine.chat.samples import chat

SHOW = "{{ messages[0].content }}"
GIGABYTE = (1 << 30) if sys.platform == "darwin" else (1 << 20)  # as getrusage counts


@contextlib.contextmanager
def bounded() -> Generator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    yield
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < 20
    assert after.ru_maxrss - before.ru_maxrss < GIGABYTE


@pytest.mark.parametrize("attack", ESCAPES.values(), ids=ESCAPES)
def test_a_template_gets_nothing_of_pythons_insides(attack: str) -> None:
    try:
        text = ChatFormat.from_template(attack + SHOW).render([Message("user", "hello")])
    except TemplateError as error:
        text = str(error)
    for trace in ("<class", "<module", "<function", "uid=", "root:", "builtins"):
        assert trace not in text


@pytest.mark.parametrize("attack", BOMBS.values(), ids=BOMBS)
def test_a_template_can_neither_run_forever_nor_fill_the_memory(attack: str) -> None:
    with bounded(), pytest.raises(TemplateError):
        ChatFormat.from_template(attack + SHOW)


@pytest.mark.parametrize("burden", BURDENS.values(), ids=BURDENS)
def test_a_template_that_is_slow_to_compile_is_refused_or_works(burden: str) -> None:
    with bounded(), contextlib.suppress(TemplateError):
        assert "hello" in ChatFormat.from_template(burden + SHOW).render([Message("user", "hello")])


def test_a_bomb_that_only_goes_off_in_a_long_conversation_is_stopped_too() -> None:
    hidden = "{% if messages|length > 5 %}" + BOMBS["nested loops"] + "{% endif %}"
    shows = "{% for m in messages %}{{ m.content }}{% endfor %}"
    chat = ChatFormat.from_template(hidden + shows)
    turns = [Message("user", "a"), Message("assistant", "b")]
    assert chat.render(turns) == "ab"
    with pytest.raises(TemplateError, match="was stopped: it needs more than"):
        chat.render(turns * 3)


def test_a_stopped_template_does_not_harm_the_next_rendering() -> None:
    with pytest.raises(TemplateError):
        ChatFormat.from_template(BOMBS["nested loops"] + SHOW)
    assert ChatFormat.from_template(SHOW).render([Message("user", "hello")]) == "hello"


@pytest.mark.parametrize("name", ["chatml", "llama3", "qwen", "qwen_thinking", "mistral", "mistral_named", "gemma"])
def test_long_honest_conversations_are_within_the_limits(name: str) -> None:
    turns = [Message("user", "why? " * 400), Message("assistant", "because. " * 400)] * 250
    text = chat(name).render([Message("system", "Be brief."), *turns, Message("user", "really?")])
    assert text.count("because. because.") >= 250
    assert "really?" in text


def test_one_very_long_message_is_within_the_limits() -> None:
    document = "All happy families are alike. " * 100_000
    for name in ("chatml", "llama3", "qwen_thinking", "mistral"):
        assert document.strip() in chat(name).render([Message("user", document)])


def test_a_malformed_template_says_where_and_what_to_do() -> None:
    with pytest.raises(TemplateError, match="TemplateSyntaxError in line 2") as caught:
        ChatFormat.from_template("{% for m in messages %}\n{{ m.content }")
    assert caught.value.hint


def test_honest_means_work_as_in_other_programs() -> None:
    means = """{%- for m in messages -%}
    {%- if loop.index0 > 1 %}{% break %}{% endif -%}
    {%- set ns = namespace(n=0, parts=[]) -%}
    {%- for part in m.content.split(' ') if part %}
        {%- set ns.n = ns.n + 1 %}{% set ns.parts = ns.parts + [part] %}
    {%- endfor -%}
    {{- m.content }}|{{ loop.index }}/{{ m.role|upper|replace('ER', 'er') }} {{ ns.n }} {{ ns.parts|join('+') }}
    {{- ns.parts[::-1]|first }}|{{ {'b': [1, none], 'a': 'é<'}|tojson }}|{{ [1, 2]|tojson(indent=1) }}|
    {{- '%s=%.2f' % ('x', 0.5) }}|{{ '{:>4}'.format(7) }}|{{ [m]|selectattr('role', 'equalto', 'user')|list|length }}|
    {{- ' a '|trim }}{{ 'x' * 3 }}{{ 2 ** 8 }} {{ 7 // 2 }}|{{ m.get('missing', 'no') }}|{{ dict(a=1).items()|list }}|
    {{- 'a' in m.content }} {{ m is mapping }} {{ 4 is even }} {{ 'b' not in ['a', 'b'] }}
    {%- endfor -%}"""
    text = ChatFormat.from_template(means).render([Message("user", "a bc d")])
    assert text.split("|") == [
        "a bc d",
        "1/USer 3 a+bc+dd",
        '{"b": [1, null], "a": "é<"}',
        "[\n 1,\n 2\n]",
        "x=0.50",
        "   7",
        "1",
        "axxx256 3",
        "no",
        "[('a', 1)]",
        "True True True False",
    ]
