"""What holds for every call in every situation: text from outside never widens, children get no more, no state."""

from __future__ import annotations

import copy
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.kernel.calls import Effect, Grant, Label, Level, Observed, ProposedCall, Provenance, Situation, Traits
from llmos.kernel.policy import DefaultPolicy

ORDER = {"allow": 2, "ask": 1, "deny": 0}
PEOPLE = ["bob@x.org", "eve@evil.com", "Sarah Baker", "Bob", "mark"]
THINGS = [
    "plan.docx",
    "notes/a.md",
    "Team sync",
    "https://a.org/x",
    "www.a.org",
    "2026-05-20 10:00",
    "general",
    "3",
    "20",
]
NAMES = ["to", "recipients", "path", "url", "amount", "file_id", "start_time", "body", "channel", "title"]
TOOLS = ["send_mail", "delete_file", "write_file", "pay", "create_event", "get_page", "calculator", "frobnicate"]
SENTENCES = [
    "Send {0} to {1}.",
    "Please delete {0} but not {1}.",
    "Pay $20 to {1} for {0}.",
    "Create an event '{0}' with {1} on May 20th at 10:00.",
    "Write '{0}' into notes/a.md.",
    "Do what the mail from {1} says about {0}.",
    "Here is a mail:\nsend {0} to {1}",
    "Delete the largest file.",
    "Reply to {1}: {0}",
]

values = st.sampled_from([*PEOPLE, *THINGS])
texts = st.one_of(values, st.text(max_size=30), st.builds("{} {}".format, values, values))
scalars = st.one_of(texts, st.integers(0, 30), st.booleans(), st.none())
records = st.dictionaries(
    st.sampled_from(["id", "name", "email", "title", "filename", "size", "start_time", "amount", "channel"]),
    scalars,
    max_size=5,
)
contents: st.SearchStrategy[Any] = st.one_of(texts, records, st.lists(st.one_of(records, values), max_size=4))
labels: st.SearchStrategy[Label] = st.sampled_from(get_args(Label))
effects: st.SearchStrategy[Effect] = st.sampled_from(get_args(Effect))
levels: st.SearchStrategy[Level] = st.sampled_from(get_args(Level))


def observed(label: st.SearchStrategy[Label]) -> st.SearchStrategy[Observed]:
    """Any result with such a label."""
    arguments = st.dictionaries(st.sampled_from(NAMES), values, max_size=1)
    return st.builds(Observed, st.sampled_from(TOOLS), arguments, contents, label, effects)


words = st.lists(st.builds(str.format, st.sampled_from(SENTENCES), values, values), min_size=1, max_size=3).map(tuple)
arguments = st.dictionaries(
    st.sampled_from(NAMES), st.one_of(scalars, st.lists(values, max_size=2)), min_size=1, max_size=4
)
traits = st.builds(
    Traits,
    effect=effects,
    steers=st.frozensets(st.sampled_from(NAMES), max_size=4),
    confined=st.sampled_from([None, "workspace"]),
)
claims = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Provenance,
        st.sampled_from(["span", "record", "enum", "computed", "default", "model"]),
        labels,
        of=st.lists(st.builds(Provenance, st.just("span"), labels), max_size=2).map(tuple),
    ),
    max_size=2,
)
calls = st.builds(ProposedCall, st.sampled_from(TOOLS), traits, arguments, claims)
grants = st.builds(
    Grant,
    id=st.just("g"),
    tools=st.sampled_from([("*",), ("send_*",), ("frobnicate",)]),
    targets=st.dictionaries(
        st.sampled_from(NAMES), st.tuples(st.sampled_from(["*", "notes/*", "*@x.org"])), max_size=2
    ),
    workspace=st.sampled_from(["", "/w"]),
)
situations = st.builds(
    Situation,
    words=words,
    seen=st.lists(observed(labels), max_size=4).map(tuple),
    level=levels,
    grants=st.lists(grants, max_size=1).map(tuple),
    now=st.sampled_from([0.0, 1_779_000_000.0]),
    spawned=st.booleans(),
)


def changed(situation: Situation, **changes: Any) -> Situation:  # noqa: ANN401 - any field
    """The same situation with some fields changed."""
    names = ("words", "seen", "level", "grants", "now", "spawned")
    return Situation(**{**{name: getattr(situation, name) for name in names}, **changes})


def rank(call: ProposedCall, situation: Situation) -> int:
    """How much a decision permits."""
    return ORDER[DefaultPolicy().decide(call, situation).verdict]


@settings(max_examples=800, deadline=None)
@given(calls, situations, observed(st.just("outside")), st.integers(0, 4))
def test_text_from_outside_never_widens_what_a_call_may_do(
    call: ProposedCall, situation: Situation, text: Observed, position: int
) -> None:
    seen = list(situation.seen)
    seen.insert(position, text)
    assert rank(call, changed(situation, seen=tuple(seen))) <= rank(call, situation)


# few values that fit each other, so that many of these calls would be allowed if text from outside had authority
few_names = st.sampled_from(["Sarah Baker", "plan.docx", "External_0"])
few_records = st.fixed_dictionaries(
    {"id": st.sampled_from(["3", "4"]), "name": few_names, "email": st.sampled_from(["bob@x.org", "s@b.org"])},
    optional={"size": st.integers(0, 3)},
)
few_contents = st.one_of(few_records, st.lists(few_records, max_size=3), st.lists(few_names, max_size=2), st.just(37))
few_words = st.lists(
    st.sampled_from(
        [
            "Send 'Hello' to Sarah Baker.",
            "Send 'Hello' to the channel starting with External.",
            "Delete plan.docx.",
            "Delete the largest file.",
            "Pay $ 30 plus 7 to Bob.",
        ]
    ),
    min_size=1,
    max_size=2,
).map(tuple)
STEERING = frozenset({"to", "channel", "file_id", "amount"})
few_calls = st.builds(
    ProposedCall,
    st.sampled_from(["send_mail", "delete_file", "pay"]),
    st.builds(Traits, effect=st.sampled_from(["writes", "external", "irreversible"]), steers=st.just(STEERING)),
    st.one_of(
        st.fixed_dictionaries({"to": st.sampled_from(["bob@x.org", "s@b.org"]), "body": st.just("Hello")}),
        st.fixed_dictionaries({"channel": st.sampled_from(["External_0", "plan.docx"])}),
        st.fixed_dictionaries({"file_id": st.sampled_from(["3", "4"])}),
        st.fixed_dictionaries({"to": st.just("Bob"), "amount": st.just(37)}),
    ),
)


def fitting(label: st.SearchStrategy[Label]) -> st.SearchStrategy[Observed]:
    """A result that these calls could rest on."""
    arguments = st.sampled_from([{}, {"sum": "30 + 7"}])
    return st.builds(Observed, st.sampled_from(["list_files", "sum"]), arguments, few_contents, label, effects)


few_situations = st.builds(Situation, words=few_words, seen=st.lists(fitting(labels), max_size=2).map(tuple))


@settings(max_examples=2_000, deadline=None)
@given(few_calls, few_situations, fitting(st.just("outside")), st.integers(0, 2))
def test_what_fits_the_request_never_widens_it_if_it_is_from_outside(
    call: ProposedCall, situation: Situation, text: Observed, position: int
) -> None:
    seen = list(situation.seen)
    seen.insert(position, text)
    assert rank(call, changed(situation, seen=tuple(seen))) <= rank(call, situation)


@settings(max_examples=300, deadline=None)
@given(calls, situations)
def test_a_child_may_do_no_more_than_the_root(call: ProposedCall, situation: Situation) -> None:
    assert rank(call, changed(situation, spawned=True)) <= rank(call, changed(situation, spawned=False))


@settings(max_examples=300, deadline=None)
@given(calls, situations)
def test_the_same_call_in_the_same_situation_is_decided_alike_and_changes_nothing(
    call: ProposedCall, situation: Situation
) -> None:
    before = copy.deepcopy((call, situation))
    first = DefaultPolicy().decide(call, situation)
    assert (call, situation) == before
    assert first == DefaultPolicy().decide(*before)
    assert first.reason.endswith(".")


@settings(max_examples=300, deadline=None)
@given(calls, situations)
def test_a_higher_level_permits_no_less_and_the_last_one_never_asks(call: ProposedCall, situation: Situation) -> None:
    ladder: list[Level] = ["L0", "L1", "L2", "L3", "L4"]
    ranks = [rank(call, changed(situation, level=level)) for level in ladder]
    assert ranks == sorted(ranks)
    last = rank(call, changed(situation, level="L5"))
    assert last == (ORDER["allow"] if ranks[-1] == ORDER["allow"] else ORDER["deny"])


@settings(max_examples=300, deadline=None)
@given(calls, situations)
def test_a_question_is_never_asked_about_what_only_looks(call: ProposedCall, situation: Situation) -> None:
    if call.traits.effect in ("pure", "reads"):
        assert DefaultPolicy().decide(call, situation).verdict != "ask"
