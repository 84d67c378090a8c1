from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.chat import ChatFormat
from llmos.errors import TemplateError
from llmos.messages import Message, Role, ToolCall, ToolSpec
from tests.engine.chat.samples import BOS, EOS, TEMPLATES, TOOLS, chat, template

NAMES = ("chatml", *sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
PREFIX_STABLE = ("chatml", "gemma", "llama3", "mistral", "mistral_named", "plain_headings", "qwen", "qwen_thinking")

ASK, SAY = Message("user", "Is it cold?"), Message("assistant", "Yes.")
CALL = ToolCall("weather", {"town": "Bonn", "days": 2}, "abc123XYZ")
CALLED, GOT = (
    Message("assistant", tool_calls=(CALL,)),
    Message("tool", "4 degrees", name="weather", tool_call_id="abc123XYZ"),
)
TWO = Message("assistant", tool_calls=(CALL, ToolCall("calculator", {"sum": "1+1"}, "def456XYZ")))
GOT_TWO = Message("tool", "two", name="calculator", tool_call_id="def456XYZ")


def continued(format: ChatFormat, raw: str, *before: Message, tools: tuple[ToolSpec, ...] = ()) -> bool:
    """Whether the conversation with an answer begins with the prompt and the answer's own text, letter by letter.

    Then the token ids that were generated can stay, and a later turn reads only what is new.
    """
    parser = format.parser()
    parser.feed(raw)
    prompt = format.render(before, tools)
    return format.render([*before, parser.finish()], tools, add_generation_prompt=False).startswith(prompt + raw)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_a_conversation_is_shown_in_order(name: str) -> None:
    words = ["be brief", "first question", "first answer", "second question"]
    roles: tuple[Role, ...] = ("system", "user", "assistant", "user")
    text = chat(name).render([Message(role, word) for role, word in zip(roles, words, strict=True)])
    places = [text.find(word) for word in words]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_tools_calls_and_results_is_shown(name: str) -> None:
    text = chat(name).render([Message("system", "be brief"), ASK, TWO, GOT, GOT_TWO, SAY, ASK], TOOLS)
    for word in ("be brief", "Weather in a town.", "calculator", "Bonn", "1+1", "4 degrees", "two", "Yes."):
        assert word in text, word


@pytest.mark.parametrize("name", NAMES)
def test_awkward_conversations_are_shown_too(name: str) -> None:
    awkward = [
        Message("system", "one"),
        Message("system", "two"),
        Message("user", "three"),
        Message("user", "four"),
        Message("assistant", "five"),
        Message("assistant", "six"),
        Message("system", "seven"),
        Message("user", "eight"),
    ]
    text = chat(name).render(awkward)
    for message in awkward:
        assert message.content in text, message.content


@pytest.mark.parametrize("name", PREFIX_STABLE)
@pytest.mark.parametrize("system", [(), (Message("system", "Be brief."),)], ids=["alone", "with a system prompt"])
def test_an_answer_continues_its_prompt_letter_by_letter(name: str, system: tuple[Message, ...]) -> None:
    raw = " Yes, it is." if name == "mistral" else "Yes, it is."
    if name == "qwen_thinking":
        raw = "<think>\nCold means 4 degrees.\n</think>\n\n" + raw
    assert continued(chat(name), raw, *system, ASK)
    assert continued(chat(name), raw, *system, ASK, SAY, ASK)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("chatml", '<tool_call>{"name": "weather", "arguments": {"town": "Bonn", "days": 2}}</tool_call>'),
        ("chatml", 'Let me see.\n<tool_call>{"name": "weather", "arguments": {"town": "Köln"}}</tool_call>'),
        ("qwen", '<tool_call>\n{"name": "weather", "arguments": {"town": "Bonn"}}\n</tool_call>'),
        (
            "qwen",
            'So:\n<tool_call>\n{"name": "weather", "arguments": {"town": "Bonn"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "calculator", "arguments": {"sum": "1+1"}}\n</tool_call>',
        ),
        (
            "qwen_thinking",
            '<think>\nhm\n</think>\n\n<tool_call>\n{"name": "weather", "arguments": {"town": "Bonn"}}\n</tool_call>',
        ),
        ("llama3", '{"name": "weather", "parameters": {"town": "Bonn"}}'),
        ("mistral", '[TOOL_CALLS] [{"name": "weather", "arguments": {"town": "Bonn"}, "id": "abc123XYZ"}]'),
        ("mistral_named", '[TOOL_CALLS]weather[ARGS]{"town": "Bonn"}[TOOL_CALLS]calculator[ARGS]{"sum": "1+1"}'),
    ],
)
def test_a_tool_call_continues_its_prompt_letter_by_letter(name: str, raw: str) -> None:
    assert continued(chat(name), raw, ASK, tools=TOOLS)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<\r"), min_size=1))
def test_any_answer_continues_a_chatml_prompt(raw: str) -> None:
    assert continued(chat("chatml"), raw, ASK)


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("chatml", ("<|im_end|>", EOS)),
        ("qwen", ("<|im_end|>", EOS)),
        ("llama3", ("<|eot_id|>", EOS)),
        ("mistral", (EOS,)),
        ("gemma", ("<end_of_turn>", EOS)),
        ("plain_headings", ("\n\n### Instruction:", EOS)),
        ("reasoner", ("<\uff5cend▁of▁sentence\uff5c>", EOS)),
    ],
)
def test_what_ends_a_turn_is_found_out(name: str, stop: tuple[str, ...]) -> None:
    assert chat(name).stop == stop


@pytest.mark.parametrize(
    ("name", "form", "native"),
    [
        ("chatml", "generic", False),
        ("gemma", "generic", False),
        ("reasoner", "generic", False),
        ("qwen", "hermes", True),
        ("text_arguments", "hermes", True),
        ("llama3", "llama3", True),
        ("mistral", "mistral", True),
        ("mistral_named", "mistral", True),
    ],
)
def test_the_tool_format_is_found_out(name: str, form: str, native: bool) -> None:
    assert (chat(name).tool_format, chat(name).native_tools) == (form, native)


def test_a_template_that_talks_of_tools_but_leaves_results_out_is_not_trusted_with_them() -> None:
    cut = template("qwen").replace("{{- message.content }}", "")
    format = ChatFormat.from_template(cut)
    assert not format.native_tools
    assert "4 degrees" in format.render([ASK, CALLED, GOT], TOOLS)


def test_another_tool_format_can_be_asked_for() -> None:
    format = ChatFormat.from_template(template("qwen"), tool_format="mistral")
    assert (format.tool_format, format.native_tools) == ("mistral", False)
    assert '[TOOL_CALLS][{"name": "weather", "arguments": {"town": "Bonn", "days": 2}}]' in format.render([ASK, CALLED])
    assert ChatFormat.from_template(None, tool_format="llama3").tool_format == "llama3"
    assert ChatFormat.from_template(template("qwen"), tool_format="hermes").native_tools


def test_without_a_template_chatml_is_used() -> None:
    assert chat("chatml").source == "builtin:chatml"
    assert chat("qwen").source == "gguf"
    text = chat("chatml").render([Message("system", "Be brief."), ASK])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nIs it cold?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_generic_tools_are_explained_in_the_system_prompt() -> None:
    text = chat("chatml").render([Message("system", "Be brief."), ASK, CALLED, GOT], TOOLS)
    system, user, call, result, answer = text.split("<|im_start|>")[1:]
    assert system.startswith("system\nBe brief.\n\nYou can use these tools:\n- weather(town: string, days?: integer)")
    assert user == "user\nIs it cold?<|im_end|>\n"
    assert call.startswith(
        'assistant\n<tool_call>{"name": "weather", "arguments": {"town": "Bonn", "days": 2}}</tool_call>'
    )
    assert result == "user\n<tool_response>4 degrees</tool_response><|im_end|>\n"
    assert answer == "assistant\n"


def test_a_system_prompt_goes_into_the_first_user_turn_where_the_role_is_unknown() -> None:
    text = chat("gemma").render([Message("system", "Be brief."), ASK, SAY, ASK])
    assert text.startswith(f"{BOS}<start_of_turn>user\nBe brief.\n\nIs it cold?<end_of_turn>\n")
    assert text.count("Be brief.") == 1


def test_a_system_prompt_alone_is_shown_where_the_role_is_unknown() -> None:
    assert "Be brief." in chat("gemma").render([Message("system", "Be brief.")])


def test_turns_of_one_role_are_joined_where_roles_must_alternate() -> None:
    text = chat("gemma").render([ASK, Message("user", "Well?")])
    assert "user\nIs it cold?\n\nWell?<end_of_turn>" in text


def test_several_calls_become_several_turns_where_one_at_a_time_is_allowed() -> None:
    text = chat("llama3").render([ASK, TWO, GOT_TWO, GOT], TOOLS)
    order = ['{"name": "weather"', "4 degrees", '{"name": "calculator"', "two"]
    places = [text.rfind(word) for word in order]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("ids", [("", ""), ("call_1", "call_2"), ("abc123XYZ", "def456XYZ")])
def test_ids_are_made_to_fit_strict_templates(ids: tuple[str, str]) -> None:
    calls = Message("assistant", tool_calls=tuple(ToolCall("weather", {}, identity) for identity in ids))
    results = [Message("tool", f"result of {n}", tool_call_id=identity) for n, identity in enumerate(ids)]
    text = chat("mistral").render([ASK, calls, *results], TOOLS)
    shown = [part.partition('"')[0] for part in text.split('"id": "')[1:]]
    answered = [part.partition('"')[0] for part in text.split('"call_id": "')[1:]]
    assert len(set(shown)) == 2
    assert shown == answered


def test_arguments_are_given_as_text_to_templates_that_want_text() -> None:
    text = chat("text_arguments").render([ASK, CALLED, GOT], TOOLS)
    assert '{"name": "weather", "arguments": {"town": "Bonn", "days": 2}}' in text


def test_reasoning_goes_to_templates_that_show_it() -> None:
    thought = Message("assistant", "Yes.", reasoning="Four degrees.")
    assert "<think>\nFour degrees.\n</think>\n\nYes." in chat("qwen_thinking").render([ASK, thought])


def test_an_answer_starts_in_its_reasoning_where_the_prompt_has_opened_it() -> None:
    parser = chat("reasoner").parser()
    assert parser.feed("hm</think>yes") == [("reasoning", "hm"), ("answer", "yes")]
    assert parser.finish() == Message("assistant", "yes", reasoning="hm")


def test_a_parser_can_be_told_that_there_are_no_tools() -> None:
    parser = chat("qwen").parser(tools=False)
    parser.feed('<tool_call>{"name": "weather"}</tool_call>')
    assert parser.finish().tool_calls == ()


def test_messages_that_a_template_refuses_are_a_typed_error() -> None:
    with pytest.raises(TemplateError, match="refuses 2 messages \\(assistant, user\\)") as caught:
        chat("gemma").render([SAY, ASK])
    assert caught.value.hint


def test_a_template_that_hides_the_users_words_is_refused() -> None:
    with pytest.raises(TemplateError, match="shows nothing of what the user says"):
        ChatFormat.from_template("Hello!")


def test_a_template_that_refuses_everything_is_refused_with_its_reason() -> None:
    with pytest.raises(TemplateError, match="not today"):
        ChatFormat.from_template("{{ raise_exception('not today') }}")


def test_messages_are_not_code() -> None:
    text = chat("chatml").render([Message("user", "{{ 7 * 7 }}{% for %}")])
    assert "{{ 7 * 7 }}{% for %}" in text


def test_one_format_serves_several_threads() -> None:
    format = chat("qwen")
    wrong: list[str] = []

    def render(word: str) -> None:
        for _ in range(20):
            if word not in format.render([Message("user", word)]):
                wrong.append(word)

    threads = [threading.Thread(target=render, args=(f"word{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_importing_the_package_does_not_load_jinja() -> None:
    program = "import sys, llmos.engine.chat; print(sorted({'jinja2', 'llguidance', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
