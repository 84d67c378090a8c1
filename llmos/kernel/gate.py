"""The `act` system call: the gate between an agent and the world.

In this order: schema, budget, policy (level and grants, then where each argument came from), the user if the policy
says so, intent row, secrets, effect, done row, event. Whatever the agent is, there is no other way to a tool. Knows no
tool's insides and decides nothing itself: the policy does.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.errors import Denied, LlmosError, NobodyThere, StorageError, Unfinished, Unsupported
from llmos.kernel.calls import (
    Allow,
    Approval,
    Ask,
    Decision,
    Deny,
    Grant,
    Observed,
    ProposedCall,
    Provenance,
    Result,
    Situation,
)
from llmos.kernel.journal import Record, canonical
from llmos.kernel.policy_values import leaves
from llmos.kernel.protocols import Access, Device
from llmos.kernel.resuming import bytes_out
from llmos.messages import new_id

if TYPE_CHECKING:
    from llmos.kernel.branch import Branch


async def act(branch: Branch, tool: str, arguments: Mapping[str, Any], provenance: Mapping[str, Provenance]) -> Result:
    """See `Branch.act`."""
    device = branch.device(tool)
    checked = device.check(arguments)
    call = ProposedCall(tool, device.traits, checked, {**_by_schema(device, arguments, checked), **provenance})
    effect = device.traits.effect
    decision: dict[str, Any] = {}
    steers = device.traits.steers or checked.keys()
    target = canonical([tool, {name: value for name, value in checked.items() if name in steers}])

    async def before() -> None:
        branch.entry.meter.charge("calls")
        if amount := bytes_out(device, checked):
            branch.entry.meter.charge("bytes_out", amount)
        await _pass(branch, device, call, decision)

    async def work(number: int) -> dict[str, Any]:
        return await _carry_out(branch, device, checked, number)

    async def recover(record: Record) -> dict[str, Any]:
        return await _recover(branch, device, call, record.number)

    try:
        data = await branch.call(
            "act",
            _title(tool, checked),
            [tool, checked],
            work,
            before=before,
            decision=decision,
            recover=recover,
            timed=False,
            durable=effect not in ("pure", "reads"),
        )
    except Denied as error:
        branch.entry.root.denied[target] = error
        raise
    branch.entry.root.denied.pop(target, None)
    result = Result(**data)
    branch.entry.seen.append(
        Observed(
            tool,
            checked,
            result.text if result.value is None else result.value,
            result.label,
            effect,
            opened=_opened(device, checked),
            origin=result.origin,
        )
    )
    nudge = branch.entry.guard.see(tool, checked, result.text)
    return result if not nudge else replace(result, text=f"{result.text}\n{nudge}")


def _opened(device: Device, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses that a call opens for the run."""
    return tuple(str(leaf) for name in sorted(device.traits.opens) for leaf in leaves(arguments.get(name)))


def _by_schema(device: Device, given: Mapping[str, Any], checked: Mapping[str, Any]) -> dict[str, Provenance]:
    """What the tool's own schema says of where arguments came from: defaults, and one of a few values."""
    properties: Mapping[str, Any] = device.spec.parameters.get("properties", {})
    known: dict[str, Provenance] = {}
    for name in checked:
        if name not in given:
            known[name] = Provenance("default", "user", "the tool's default")
        elif "enum" in properties.get(name, {}) and name not in device.traits.steers:
            known[name] = Provenance("enum", "user", "one of the tool's few values")
    return known


async def _pass(branch: Branch, device: Device, call: ProposedCall, told: dict[str, Any]) -> None:
    """The policy, and the user where the policy says so. What was decided is put into `told`, for the journal.

    Raises:
        Denied: The call may not run.
        BudgetExceeded: No question is left for it.
    """
    decision = branch.system.policy.decide(call, situation(branch))
    told.update(branch.system.redacted(_reasons(branch, call, decision)))
    branch.system.decided(branch.pid, call, decision)
    match decision:
        case Allow():
            if decision.grant:
                branch.system.grants.use(decision.grant)
        case Deny():
            raise Denied(
                f"{call.tool!r} was not carried out: {decision.reason}", hint="Choose another way, or tell the user."
            )
        case Ask():
            await _ask(branch, device, call, decision, told)


def _reasons(branch: Branch, call: ProposedCall, decision: Decision) -> dict[str, Any]:
    """What is journaled of a decision.

    `verdict`, `reason`, `level`, the `grant` that covered it if one did, `from` (the provenance of each argument whose
    origin is known), and `user`: what the user said where one was asked (`nobody` where nobody was there, `changed`
    where the answer did not hold any more), else empty.
    """
    origins = {**call.provenance, **decision.provenance}
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "level": branch.entry.level,
        "grant": decision.grant if isinstance(decision, Allow) else "",
        "from": {name: asdict(origin) for name, origin in origins.items()},
        "user": "",
    }


def situation(branch: Branch) -> Situation:
    """What the policy decides a branch's calls by."""
    entry = branch.entry
    return Situation(
        words=entry.words,
        seen=tuple(entry.seen),
        level=entry.level,
        grants=branch.system.grants.of(entry.run, str(entry.workspace)),
        now=time.time(),
        spawned=entry.parent is not None,
    )


async def _ask(branch: Branch, device: Device, call: ProposedCall, decision: Ask, told: dict[str, Any]) -> None:
    branch.entry.meter.charge("questions")
    shown = device.show(call.arguments, access(branch, 0))
    digest = hashlib.sha256(canonical([branch.pid, call.tool, call.arguments, shown]).encode()).hexdigest()
    approval = Approval(branch.pid, call, decision, branch.system.redact(shown), digest)
    try:
        with branch.system.waiting_for_a_person(branch.entry):
            reply = await branch.system.approver.approve(approval)
    except NobodyThere as error:
        told["user"] = "nobody"
        raise Denied(
            f"{call.tool!r} needs the user's permission ({decision.reason}), and nobody can answer.",
            hint="Run it where somebody can, or grant it beforehand (`llmos grants add`).",
        ) from error
    told["user"] = reply
    if reply == "no":
        raise Denied(f"{call.tool!r} was refused by the user.", hint="Choose another way, or tell the user.")
    again = device.show(call.arguments, access(branch, 0))
    if again != shown:
        told["user"] = "changed"
        raise Denied(
            f"{call.tool!r} was not carried out: what it would do has changed since the user was asked.",
            hint="Look again and propose it anew.",
        )
    if reply in ("run", "always") and not call.traits.confirmed:
        targets = {name: (_literal(call.arguments.get(name)),) for name in sorted(call.traits.steers)}
        branch.system.grants.add(
            Grant(
                id=new_id(),
                tools=(_literal(call.tool),),
                targets=targets,
                run=branch.entry.run if reply == "run" else "",
            )
        )


def _literal(value: object) -> str:
    """A value as an `fnmatch` pattern that matches nothing else."""
    return glob.escape(value if isinstance(value, str) else canonical(value))


async def _carry_out(branch: Branch, device: Device, arguments: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The effect, in its bounds; returns what is journaled of it."""
    entered = access(branch, number)
    kept: list[Path] = []

    async def keep(file: Path) -> None:
        copy = await asyncio.to_thread(_copy, branch, number, file)
        branch.system.journal.keep_file(branch.entry.run, branch.path, number, str(file), copy)
        kept.append(file)

    def secret(handle: str, host: str) -> str:
        return str(branch.system.vault.resolve(device.spec.name, {"url": f"https://{host}/", "value": handle})["value"])

    real = branch.system.vault.resolve(device.spec.name, arguments)
    put_in = _put_in(dict(arguments), dict(real))
    async with branch.system.place(branch, device.spec.name, device.traits.parallel):
        seconds = min(device.traits.seconds, branch.entry.meter.left("seconds"))
        try:
            async with asyncio.timeout(seconds):
                result = await device.call(real, replace(entered, keep=keep, secret=secret, put_in=put_in))
        except TimeoutError:
            branch.entry.meter.check_time()
            result = Result(
                f"{device.spec.name!r} was ended after {seconds:g} s.", failed=True, label=device.traits.returns
            )
    for file in kept:
        branch.system.journal.kept_after(branch.entry.run, branch.path, number, str(file), digest_of(file))
    return branch.system.redacted(asdict(result))


def _put_in(before: Any, after: Any) -> dict[str, str]:  # noqa: ANN401 - JSON data
    """The texts into which the vault put secrets, and what they were before."""
    if isinstance(before, str):
        return {after: before} if isinstance(after, str) and after != before else {}
    pairs: list[tuple[Any, Any]] = []
    match before, after:
        case dict(), dict():
            pairs = [(value, after.get(key)) for key, value in before.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
        case (list() | tuple(), list() | tuple()):
            pairs = list(zip(before, after, strict=False))  # pyright: ignore[reportUnknownArgumentType]
        case _:
            pass
    return {text: handle for pair in pairs for text, handle in _put_in(*pair).items()}


async def _recover(branch: Branch, device: Device, call: ProposedCall, number: int) -> dict[str, Any]:
    """A call that was intended, and of which nobody knows whether it was carried out.

    Harmless ones and those with a key are made again; where the tool can tell, it is asked; else the user is.
    """
    traits = device.traits
    if traits.effect in ("pure", "reads") or traits.repeatable or traits.keyed:
        return await _carry_out(branch, device, call.arguments, number)
    try:
        done = await device.done(call.arguments, access(branch, number))
    except Unsupported:
        done = None
        shown = device.show(call.arguments, access(branch, number))
        question = f"Before the run was interrupted, this was begun:\n{shown}\nWas it carried out? (yes/no)"
        try:
            with branch.system.waiting_for_a_person(branch.entry):
                answer = await branch.system.approver.answer(branch.pid, question)
        except NobodyThere as error:
            raise Unfinished(
                f"Call {number} ({device.spec.name!r}) was begun before the run was interrupted, and nobody knows"
                " whether it was carried out.",
                hint="Look, and resume the run where somebody can answer.",
            ) from error
        if answer.strip().casefold() in ("yes", "y", "ja"):
            done = Result("The user says that it was carried out.", label="user")
    if done is not None:
        return branch.system.redacted(asdict(done))
    decision: dict[str, Any] = {}
    try:
        await _pass(branch, device, call, decision)
    finally:
        if decision:
            branch.system.journal.decide(branch.entry.run, branch.path, number, canonical(decision))
    return await _carry_out(branch, device, call.arguments, number)


def access(branch: Branch, number: int) -> Access:
    """What a tool gets for one call."""
    system, entry = branch.system, branch.entry

    async def ask(question: str) -> str:
        entry.meter.charge("questions")
        with system.waiting_for_a_person(entry):
            return await system.approver.answer(branch.pid, question)

    async def keep(file: Path) -> None:
        raise LlmosError(f"{str(file)!r} can't be changed while an effect is only shown.")

    return Access(
        pid=branch.pid,
        workspace=entry.workspace,
        folder=system.run_folder(entry.run),
        key=branch.key(number),
        deps=entry.deps,
        ask=ask,
        keep=keep,
        progress=lambda text: system.progress(branch.pid, text),
    )


def _copy(branch: Branch, number: int, file: Path) -> str:
    """Copy a file as it is now into the run's folder; returns the copy's name, "" where there is no file."""
    folder = branch.system.run_folder(branch.entry.run) / "kept"
    copy = ""
    try:
        if file.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            copy = f"{branch.path}-{number}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}"
            shutil.copy2(file, folder / copy, follow_symlinks=False)
            with (folder / copy).open("rb") as written:
                os.fsync(written.fileno())
    except OSError as error:
        raise StorageError(
            f"{str(file)!r} could not be kept as it is, so it was not changed: {error.strerror or error}.",
            hint="Free some disk space.",
        ) from error
    return copy


def digest_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal; empty where there is none."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def _title(tool: str, arguments: Mapping[str, Any]) -> str:
    inside = ", ".join(f"{name}={str(value)[:60]!r}" for name, value in arguments.items())
    return f"{tool}({inside})"
