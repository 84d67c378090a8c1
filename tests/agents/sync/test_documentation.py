"""The example in docs/synchronization.md prints what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "synchronization.md"


def test_the_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text("utf-8")
    source = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    said = re.search(r"It prints `(.*?)`", text)
    assert source is not None
    assert said is not None
    exec(compile(source[1], str(PAGE), "exec", dont_inherit=True), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip() == said[1]
