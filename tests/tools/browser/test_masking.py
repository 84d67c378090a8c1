"""Secrets in what a run leaves behind: in texts, in data, and in traces as Playwright writes them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.errors import StorageError
from llmos.tools.browser.masking import HIDDEN, Mask

SECRET = "p\u00e4ss/word 7&8"
HANDLE = "secret://bank"


def mask() -> Mask:
    made = Mask()
    made.add(SECRET, HANDLE)
    return made


def test_a_secret_is_hidden_plain_and_encoded() -> None:
    for said in (SECRET, quote(SECRET), json.dumps(SECRET)[1:-1], SECRET.encode().hex()):
        assert mask().text(f"before {said} after") == f"before {HANDLE} after"
    assert mask().text("nothing of it") == "nothing of it"
    assert mask().data({"a": [SECRET, 1, None], SECRET: True}) == {"a": [HANDLE, 1, None], HANDLE: True}


def test_a_short_secret_is_hidden_where_it_stands_alone() -> None:
    made = Mask()
    made.add("123")
    assert made.text("123") == HIDDEN
    assert made.text("1234 and 123 more") == "1234 and 123 more"
    assert not Mask()


@given(
    st.text(min_size=6, max_size=40).filter(lambda text: text.isprintable()), st.text(max_size=20), st.text(max_size=20)
)
def test_no_text_shows_a_secret_that_it_had(secret: str, before: str, after: str) -> None:
    made = Mask()
    made.add(secret, "\u0000")
    assert secret not in made.text(f"{before}\u0001{secret}\u0001{after}")


def trace(file: Path, events: list[dict[str, Any]], **more: bytes) -> Path:
    """A trace as Playwright writes it."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("trace.trace", "\n".join(json.dumps(event) for event in events))
        for name, content in more.items():
            archive.writestr(f"resources/{name.replace('_', '.')}", content)
    return file


def snapshot(*fields: list[Any]) -> dict[str, Any]:
    return {"type": "frame-snapshot", "snapshot": {"html": ["HTML", {}, ["BODY", {}, *fields]]}}


def contents(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_trace_loses_secrets_wherever_they_stand(tmp_path: Path) -> None:
    events = [
        {"type": "before", "method": "fill", "params": {"value": SECRET[:-1]}},
        {"type": "before", "method": "type", "params": {"text": SECRET[-1]}},
        snapshot(["INPUT", {"type": "text", "__playwright_value_": SECRET}]),
        {"type": "screencast-frame", "sha1": "frame.jpeg"},
        {"type": "after", "result": 1},
    ]
    body = f"user=ann&password={quote(SECRET)}".encode()
    file = trace(tmp_path / "trace.zip", events, body_txt=body, frame_jpeg=b"\xff\xd8picture", font_bin=b"\xff\x00")
    mask().trace(file)
    found = contents(file)
    whole = b"".join(found.values())
    assert SECRET.encode() not in whole
    assert SECRET[:-1].encode() not in whole
    assert quote(SECRET).encode() not in whole
    assert set(found) == {"trace.trace", "resources/body.txt", "resources/font.bin"}
    assert found["resources/font.bin"] == b"\xff\x00"
    kinds = [json.loads(line)["type"] for line in found["trace.trace"].decode().splitlines()]
    assert kinds == ["before", "before", "frame-snapshot", "after"]


def test_what_stands_in_private_fields_is_taken_out_though_nobody_knows_it(tmp_path: Path) -> None:
    events = [
        {"type": "before", "params": {"value": "typed-by-hand"}},
        snapshot(
            ["INPUT", {"type": "PASSWORD", "__playwright_value_": "typed-by-hand"}],
            ["INPUT", {"autocomplete": "section-a cc-csc", "__playwright_value_": "123", "value": "123"}],
            ["INPUT", {"type": "text", "__playwright_value_": "Ann"}],
        ),
    ]
    file = trace(tmp_path / "trace.zip", events, frame_jpeg=b"picture")
    Mask().trace(file)
    found = contents(file)
    assert b"typed-by-hand" not in found["trace.trace"]
    assert b'"123"' not in found["trace.trace"]
    assert b"Ann" in found["trace.trace"]
    assert found["resources/frame.jpeg"] == b"picture"


def test_a_trace_that_can_not_be_masked_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "trace.zip"
    file.write_bytes(b"no archive " + SECRET.encode())
    with pytest.raises(StorageError, match="removed"):
        mask().trace(file)
    assert list(tmp_path.iterdir()) == []
