"""The default policy: whether a proposed call may run, must be asked about, or may not.

Authority is the root user's words alone. An argument that steers an effect must stand in them, or in a record that they
select; what leaves while other material is in sight must be made of them; and they must ask for what the tool does.
Pure: same call, same situation, same decision; no model, no clock, no disk. Usable by itself, outside of a run.
Documentation: docs/policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmos.kernel.calls import (
    Allow,
    Ask,
    Decision,
    Deny,
    Effect,
    Grant,
    Level,
    ProposedCall,
    Provenance,
    Situation,
    Traits,
    join,
)
from llmos.kernel.policy_grants import covering
from llmos.kernel.policy_leaks import is_yours, material_in
from llmos.kernel.policy_origins import ORIGIN, is_confined, is_on_a_page, opened, stays, typed
from llmos.kernel.policy_records import Sight
from llmos.kernel.policy_values import leaves, moment, number, plain
from llmos.kernel.policy_verbs import asked_for, needs_verb, unspoken_secret
from llmos.kernel.policy_words import Words
from llmos.kernel.provenance import Evidence, claimed, evidence, trace_call

EFFECTS: tuple[Effect, ...] = ("pure", "reads", "writes", "external", "irreversible")


@dataclass(frozen=True, slots=True)
class Autonomy:
    """One level, on two axes.

    Attributes:
        asks: When a person is asked: for every effect, or when the policy is violated; `never` makes a denial of it.
        reach: The widest effect that is possible at all; beyond it is a denial, whoever asks.
        granted: What a grant stands for: the answer to the question about targets if it names them all, its targets,
            or the whole call with everything that leaves by it.
    """

    asks: Literal["effects", "violations", "never"]
    reach: Effect
    granted: Literal["answers", "targets", "everything"]


LEVELS: Mapping[Level, Autonomy] = {
    "L0": Autonomy("effects", "pure", "answers"),
    "L1": Autonomy("effects", "reads", "answers"),
    "L2": Autonomy("effects", "irreversible", "answers"),
    "L3": Autonomy("violations", "irreversible", "targets"),
    "L4": Autonomy("violations", "irreversible", "everything"),
    "L5": Autonomy("never", "irreversible", "everything"),
}
"""The only place where levels are defined."""


class DefaultPolicy:
    """The policy that a kernel uses unless it is given another one. Has no state."""

    def decide(self, call: ProposedCall, situation: Situation, /) -> Decision:
        """Whether a call may run, must be asked about, or may not, with a reason in plain words."""
        level, effect = LEVELS[situation.level], call.traits.effect
        if EFFECTS.index(effect) > EFFECTS.index(level.reach):
            return Deny(
                f"{call.tool} {_does(effect)}; {situation.level} allows no more than what {_does(level.reach)}."
            )
        if effect in ("pure", "reads"):
            return Allow(f"{call.tool} {_does(effect)}.")
        decision = _effect(call, situation, level)
        if level.asks == "never" and isinstance(decision, Ask):
            return Deny(f"Nobody is there to ask, and {_lower(decision.reason)}", decision.provenance)
        return decision


def _effect(call: ProposedCall, situation: Situation, level: Autonomy) -> Decision:
    grant = covering(call, situation, targeted=level.granted == "answers" or call.traits.confirmed)
    sight = Sight(situation)
    found = _traced(call, sight)
    if level.asks == "effects" and not grant:
        return Ask(
            f"At {situation.level} every effect is asked for, and {call.tool} {_does(call.traits.effect)}.",
            _origins(found),
        )
    if grant and (level.granted == "everything" or call.traits.confined):
        return _granted(grant, call, found)
    violations = [] if grant else [*_unopened(call), *_unconfirmed(call), *_steering_violations(call, sight, found)]
    content, trouble = _content_violations(call, sight)
    if call.traits.confirmed and not grant:
        trouble = []  # whoever agrees to it is shown all of it
    origins = _origins(found) | content
    if violations or trouble:
        return Ask(" ".join([*violations, *trouble]), origins)
    if grant:
        return Allow(f"Grant {grant.id!r} covers this target.", grant.id, origins)
    named = ", ".join(name for name in found) or "the call"
    return Allow(f"Your request asks for this: it says {named}.", "", origins)


def _unopened(call: ProposedCall) -> list[str]:
    """A tool that changes the workspace needs a grant of it, or an answer for this call."""
    if call.traits.confined != "workspace" or call.traits.effect != "writes":
        return []
    return [f"{call.tool} changes this folder, and you have not opened it to changes."]


def _unconfirmed(call: ProposedCall) -> list[str]:
    """Some tools do what no request can agree to beforehand, because what it is shows only at the end."""
    if not call.traits.confirmed:
        return []
    return [f"{call.tool} {_does(call.traits.effect)}, and is agreed to each time."]


def _traced(call: ProposedCall, sight: Sight) -> dict[str, Evidence]:
    """Where the steering arguments came from. An origin that the run has opened is as good as said."""
    found = trace_call(call, sight, steering(call))
    if ORIGIN in found and is_on_a_page(call):
        found[ORIGIN] = opened(call, sight.situation) or found[ORIGIN]
    return found


def steering(call: ProposedCall) -> frozenset[str]:
    """The arguments that must be authorized: those declared, or all where an effect declares none."""
    return call.traits.steers or frozenset(call.arguments)


def leaves_the_machine(traits: Traits) -> bool:
    """Whether content of a call may reach others."""
    return traits.effect in ("external", "irreversible")


def is_tainted(situation: Situation) -> bool:
    """Whether the agent may have read anything but the user's words."""
    return situation.spawned or any(seen.label != "user" for seen in situation.seen)


def _steering_violations(call: ProposedCall, sight: Sight, found: Mapping[str, Evidence]) -> list[str]:
    wrong = [
        f"The argument {name!r} of {call.tool}, {plain(call.arguments[name])}, {seen.why or 'is not said by you'}."
        for name, seen in found.items()
        if not seen.authorized
    ]
    if wrong or is_confined(call) or call.traits.confirmed:
        return wrong
    return _verb_violations(call, sight.words, found)


def _verb_violations(call: ProposedCall, words: Words, found: Mapping[str, Evidence]) -> list[str]:
    """The request must ask for what the tool does, in a sentence that names one of its targets.

    In a list of tasks, everything that a call is made of must belong to one of them.
    """
    irreversible = call.traits.effect == "irreversible"
    if not needs_verb(call.tool, irreversible=irreversible):
        return []
    if secret := unspoken_secret(call.tool, words):
        return [f"Your request doesn't speak of a {secret}, which {call.tool} is about."]
    asked = list(asked_for(call.tool, words, strict=irreversible))
    if not asked:
        return [f"Your request doesn't ask for what {call.tool} does."]
    targets = {span.sentence for seen in found.values() for span in seen.spans}
    if targets and targets.isdisjoint(token.sentence for token in asked):
        return [f"Your request doesn't ask for {call.tool} where it names what this call is about."]
    parts = [{words.item(span.start) for span in seen.spans} for seen in found.values() if seen.spans]
    parts.append({words.item(token.start) for token in asked})
    if not any(all({item, 0} & part for part in parts) for item in set[int]().union(*parts)):
        return [f"This call of {call.tool} is put together from different tasks of your request."]
    return []


def _content_violations(call: ProposedCall, sight: Sight) -> tuple[dict[str, Provenance], list[str]]:
    """What leaves while other material is in sight must be the user's own words."""
    origins: dict[str, Provenance] = {}
    if not leaves_the_machine(call.traits) or not is_tainted(sight.situation):
        return origins, []
    wrong: list[str] = []
    on_page = is_on_a_page(call)
    for name, value in (typed(call) if on_page else call.arguments).items():
        if name in steering(call):
            continue
        known = claimed(call, name, sight.situation)
        if known is not None and known.authorized:
            origins[name] = known.origin
            continue
        for leaf in leaves(value):
            if isinstance(leaf, bool) or is_yours(str(leaf), sight.words):
                continue
            if on_page and (staying := stays(str(leaf), call, sight)) is not None:
                origins[name] = staying
                continue
            proof = evidence(leaf, sight, argument=name, effect=call.traits.effect)
            origins[name] = proof.origin
            if not proof.authorized or _is_prose(leaf, proof):
                origin, reason = _leak(call.tool, name, str(leaf), sight)
                origins[name] = origin
                wrong.append(reason)
                break
    return origins, wrong


def _is_prose(leaf: str | int | float, proof: Evidence) -> bool:
    """A text that is only almost the user's: how it differs could say something."""
    return proof.origin.origin == "span" and moment(str(leaf)) is None and number(leaf) is None


def _leak(tool: str, name: str, text: str, sight: Sight) -> tuple[Provenance, str]:
    """What to say about content that is not the user's."""
    if (found := material_in(text, sight)) is not None:
        disguise = f" ({found.encoding})" if found.encoding else ""
        reason = f"The argument {name!r} of {tool} would take text from {found.source}{disguise} out: {plain(text)}."
        return Provenance("span", found.label, found.source, found.start, found.end), reason
    label = join("outside" if sight.situation.spawned else "user", *sight.labels)
    reason = f"The argument {name!r} of {tool}, {plain(text)}, was written after reading other material, not by you."
    return Provenance("model", label), reason


def _granted(grant: Grant, call: ProposedCall, found: Mapping[str, Evidence]) -> Allow:
    return Allow(f"Grant {grant.id!r} covers {call.tool}.", grant.id, _origins(found))


def _origins(found: Mapping[str, Evidence]) -> dict[str, Provenance]:
    return {name: seen.origin for name, seen in found.items()}


def _does(effect: Effect) -> str:
    return {
        "pure": "only computes",
        "reads": "only reads",
        "writes": "changes your data",
        "external": "reaches beyond this machine",
        "irreversible": "can't be undone",
    }[effect]


def _lower(reason: str) -> str:
    return reason[0].lower() + reason[1:]
