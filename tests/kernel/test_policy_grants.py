"""Grants: what a standing permission covers, and what it can't be stretched to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llmos.kernel.calls import Allow, Ask, Decision, Grant, Level, Observed, ProposedCall, Situation, Traits
from llmos.kernel.policy import DefaultPolicy
from llmos.kernel.policy_grants import matches

WRITE = Traits(effect="writes", steers=frozenset({"path"}))
MAIL = Traits(effect="external", steers=frozenset({"to"}))
CODE = Traits(effect="writes", steers=frozenset({"code"}), confined="workspace")
CLICK = Traits(effect="external", steers=frozenset({"ref"}), confined="origin")
PAGE = Observed("http.get", {"url": "https://a.org"}, "Roses are red", "outside")


def decide(
    grant: Grant,
    tool: str,
    traits: Traits,
    arguments: Mapping[str, Any],
    *seen: Observed,
    level: Level = "L3",
    now: float = 1_000.0,
) -> Decision:
    """What the policy says to a call for which only the grant speaks."""
    situation = Situation(words=("Go on.",), seen=seen, level=level, grants=(grant,), now=now)
    return DefaultPolicy().decide(ProposedCall(tool, traits, arguments), situation)


@pytest.mark.parametrize(
    ("argument", "value", "pattern"),
    [
        ("path", "notes/a.md", "notes/*"),
        ("path", "./notes//a.md", "notes/*"),
        ("path", "/home/me/a", "/home/me/*"),
        ("to", "Bob@X.org", "*@x.org"),
        ("url", "https://A.org:443/x/y", "https://a.org/*"),
        ("url", "https://a.org/x?y=1", "https://a.org"),
        ("url", "https://b.a.org/x", "https://*.a.org/*"),
        ("command", "git status", "git *"),
        ("command", "make test | tee log", "make test | tee log"),
        ("channel", "general", "general"),
    ],
)
def test_a_pattern_matches(argument: str, value: str, pattern: str) -> None:
    assert matches(argument, value, pattern)


@pytest.mark.parametrize(
    ("argument", "value", "pattern"),
    [
        ("path", "notes/../secret", "notes/*"),
        ("path", "notes/../../etc/passwd", "notes/*"),
        ("path", "../notes/a.md", "notes/*"),
        ("path", "/notes/a.md", "notes/*"),
        ("path", "~/notes/a.md", "*"),
        ("path", "NOTES/a.md", "notes/*"),
        ("path", "notes\\..\\a.md", "notes*"),
        ("path", "not\u0435s/a.md", "notes/*"),
        ("path", "notes/a\u200b.md", "notes/*"),
        ("to", "eve@evil.com,bob@x.org", "*@x.org"),
        ("to", "eve@evil.com\nbob@x.org", "*@x.org"),
        ("to", "eve@evil.com@x.org", "*@x.org"),
        ("to", "bob@x.org.evil.com", "*@x.org"),
        ("to", "bob@\u0445.org", "*@x.org"),
        ("url", "https://a.org@evil.com/", "https://a.org*"),
        ("url", "https://a.org:pw@evil.com/x", "https://a.org/*"),
        ("url", "https://evil.com/.a.org/x", "https://*.a.org/*"),
        ("url", "https://evil.com?.a.org/", "https://*.a.org/*"),
        ("url", "https://evil.com#.a.org/", "https://*.a.org/*"),
        ("url", "https://a.org.evil.com/", "https://a.org/*"),
        ("url", "https://a.org/x/../admin", "https://a.org/x/*"),
        ("url", "https://a.org/x/%2e%2e/admin", "https://a.org/x/*"),
        ("url", "https://a.org\\@evil.com/", "https://a.org/*"),
        ("url", "http://a.org/", "https://a.org/*"),
        ("url", "https://a.org:8080/", "https://a.org/*"),
        ("url", "https://\u0430.org/", "https://*/*"),
        ("url", "https://a.org/x?steal=1", "https://a.org/x"),
        ("url", "javascript:alert(1)//https://a.org/", "https://a.org/*"),
        ("command", "git status; rm -rf .", "git *"),
        ("command", "git status\nrm -rf .", "git *"),
        ("command", "git $(rm x)", "git *"),
        ("command", "git `rm x`", "git *"),
        ("command", "git log > /etc/x", "git *"),
        ("channel", "General", "general"),
    ],
)
def test_a_pattern_is_not_stretched(argument: str, value: str, pattern: str) -> None:
    assert not matches(argument, value, pattern)


def test_a_grant_covers_its_targets_and_nothing_else() -> None:
    grant = Grant(id="g1", tools=("files.*",), targets={"path": ("notes/*",)})
    covered = decide(grant, "files.write", WRITE, {"path": "notes/a.md", "text": "x"})
    assert isinstance(covered, Allow)
    assert covered.grant == "g1"
    assert isinstance(decide(grant, "files.write", WRITE, {"path": "b.md", "text": "x"}), Ask)
    assert isinstance(decide(grant, "files.write", WRITE, {"path": ["notes/a.md", "b.md"]}), Ask)
    assert isinstance(decide(grant, "shell.run", WRITE, {"path": "notes/a.md"}), Ask)


def test_a_target_that_a_call_leaves_out_is_not_covered() -> None:
    grant = Grant(id="g", targets={"path": ("*",)})
    assert isinstance(
        decide(grant, "files.write", Traits(effect="writes", steers=frozenset({"path", "mode"})), {"mode": "w"}), Ask
    )


def test_a_grant_ends_with_its_time_and_its_count() -> None:
    arguments = {"path": "notes/a.md"}
    for grant, covered in (
        (Grant(id="g", targets={"path": ("notes/*",)}, expires=1_001.0), True),
        (Grant(id="g", targets={"path": ("notes/*",)}, expires=1_000.0), False),
        (Grant(id="g", targets={"path": ("notes/*",)}, calls=1), True),
        (Grant(id="g", targets={"path": ("notes/*",)}, calls=0), False),
    ):
        assert (decide(grant, "files.write", WRITE, arguments).verdict == "allow") is covered


def test_a_workspace_covers_confined_code_and_nothing_that_is_not_confined() -> None:
    grant = Grant(id="w", workspace="/home/me/work")
    assert decide(grant, "python", CODE, {"code": "print(1)"}, PAGE).verdict == "allow"
    assert decide(grant, "files.write", WRITE, {"path": "a"}).verdict == "ask"
    assert decide(grant, "browser.click", CLICK, {"ref": "e2"}).verdict == "ask"


def test_an_origin_covers_clicks_on_its_pages() -> None:
    grant = Grant(id="o", origins=("https://a.org",))
    assert decide(grant, "browser.click", CLICK, {"ref": "e2"}, PAGE).verdict == "allow"
    assert decide(grant, "browser.open", CLICK, {"ref": "e2", "url": "https://a.org/x"}).verdict == "allow"
    assert decide(grant, "browser.open", CLICK, {"ref": "e2", "url": "https://a.org@evil.com/x"}).verdict == "ask"
    assert decide(grant, "python", CODE, {"code": "1"}).verdict == "ask"


@pytest.mark.parametrize(("level", "verdict"), [("L2", "ask"), ("L3", "ask"), ("L4", "allow"), ("L5", "allow")])
def test_what_leaves_under_a_granted_target_is_asked_about_unless_the_grant_stands_for_all(
    level: Level, verdict: str
) -> None:
    grant = Grant(id="g", tools=("send",), targets={"to": ("bob@x.org",)})
    assert (
        decide(grant, "send", MAIL, {"to": "bob@x.org", "body": "Roses are red"}, PAGE, level=level).verdict == verdict
    )


def test_at_l2_only_a_grant_that_names_every_target_answers_the_question() -> None:
    assert decide(Grant(id="g", tools=("send",)), "send", MAIL, {"to": "bob@x.org"}, level="L2").verdict == "ask"
    assert decide(Grant(id="w", workspace="/w"), "python", CODE, {"code": "1"}, level="L2").verdict == "ask"


def test_a_grant_does_not_lift_what_a_level_excludes() -> None:
    grant = Grant(id="g", targets={"path": ("*",)})
    assert decide(grant, "files.write", WRITE, {"path": "a"}, level="L1").verdict == "deny"
