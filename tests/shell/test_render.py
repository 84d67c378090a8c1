"""Markdown on a terminal, against a small terminal that keeps what was written."""

from __future__ import annotations

import re
from io import StringIO
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmos.shell.render import MarkdownStream, Renderer
from llmos.shell.text import ANSI, harmless
from tests.shell.helpers import Screen

TOUR = """# A tour

Some **bold** and `code`, a line
break and [a link](https://example.org).

- one
- two
  1. deep

```python
x = "**not bold**"
```

| name | legs |
|---|---:|
| 犬 | 4 |

> quoted

<b>kept</b> ![picture](p.png)

[1]: https://example.org/kept
"""

SNAPSHOT = """A tour

Some bold and code, a line
break and a link (https://example.org).

 • one
 • two
    1 deep

  x = "**not bold**"

 name  legs
 ──────────
 犬       4

▌ quoted

<b>kept</b> !picture (p.png)

[1]: https://example.org/kept"""


class Pictures:
    """A stream on a small terminal."""

    def __init__(self, columns: int = 60, rows: int = 50) -> None:
        self.screen = Screen(columns, rows)
        self.stream = MarkdownStream(
            cast("StringIO", self.screen), size=lambda: (self.screen.columns, self.screen.rows)
        )

    def show(self, *pieces: str, status: str = "working") -> str:
        """What is on the screen when pieces have been shown one after the other."""
        for piece in pieces:
            self.stream.feed(piece)
            self.stream.paint(status)
        self.stream.finish()
        return self.screen.text


def words(text: str) -> list[str]:
    """The words of a text."""
    return re.findall(r"\w+", text)


def test_a_tour_of_markdown() -> None:
    assert Pictures().show(TOUR) == SNAPSHOT


def test_blocks_arriving_letter_by_letter_end_up_the_same() -> None:
    assert Pictures().show(*TOUR) == SNAPSHOT


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_pieces_end_up_the_same(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(TOUR)), max_size=12)))
    pieces = [TOUR[a:b] for a, b in zip([0, *cuts], [*cuts, len(TOUR)], strict=True)]
    assert Pictures().show(*pieces) == SNAPSHOT


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["word ", "日本 ", "longerword ", "\n", "\n\n", "- item\n", "```\n", "`", "**"]),
        max_size=60,
    ),
    st.integers(4, 40),
    st.integers(3, 12),
)
@example(["`", "`", "`", "word "], 4, 3)
def test_nothing_is_lost_on_a_screen_of_any_size(pieces: list[str], columns: int, rows: int) -> None:
    shown = Pictures(columns, rows).show(*pieces)
    languages = " ".join(token.info for token in MarkdownIt().parse("".join(pieces)))  # of code, which are not shown
    for word in ("word", "日本", "item"):
        said = sum(word in piece for piece in pieces) - languages.count(word)
        assert "".join(shown.split()).count(word) >= said


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(10, 60), st.integers(4, 20)), min_size=1, max_size=6))
def test_a_size_that_changes_loses_nothing(sizes: list[tuple[int, int]]) -> None:
    pictures = Pictures(30, 8)
    said = [f"w{i} " for i in range(60)]
    for index, piece in enumerate(said):
        if index % 10 == 5:
            pictures.screen.columns, pictures.screen.rows = sizes[(index // 10) % len(sizes)]
        pictures.stream.feed(piece)
        pictures.stream.paint("status")
    pictures.stream.finish()
    shown = words(pictures.screen.text)
    assert [f"w{i}" for i in range(60) if f"w{i}" not in shown] == []


def test_a_code_block_longer_than_the_screen_is_whole() -> None:
    code = [f"line_{i}\n" for i in range(100)]
    shown = Pictures(40, 10).show("```\n", *code, "```\n", "after\n")
    assert words(shown) == [*(line.strip() for line in code), "after"]


def test_the_status_is_there_while_it_works_and_gone_at_the_end() -> None:
    pictures = Pictures()
    pictures.stream.paint("reading")
    assert pictures.screen.text == "reading"
    pictures.stream.feed("hello")
    pictures.stream.paint("writing")
    assert pictures.screen.text == "hello\n\nwriting"
    pictures.stream.finish()
    assert pictures.screen.text == "hello"


def test_an_answer_without_words_leaves_nothing_behind() -> None:
    assert Pictures().show("", "\n") == ""


def test_the_next_line_begins_after_the_answer() -> None:
    pictures = Pictures()
    pictures.show("hello")
    pictures.screen.write("> ")
    assert pictures.screen.text == "hello\n>"


def test_the_cursor_is_visible_at_the_end() -> None:
    out = StringIO()
    stream = MarkdownStream(out, size=lambda: (80, 24))
    stream.feed("hello")
    stream.paint("working")
    stream.finish()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_nothing_new_writes_nothing() -> None:
    out = StringIO()
    stream = MarkdownStream(out, size=lambda: (80, 24))
    stream.feed("hello")
    stream.paint("working")
    size = len(out.getvalue())
    stream.paint("working")
    assert len(out.getvalue()) == size


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\x07", "a\rb", "\u202eabc", "\udcff"])
def test_a_model_can_not_command_the_terminal(text: str) -> None:
    out = StringIO()
    stream = MarkdownStream(out, size=lambda: (80, 24))
    stream.feed(text)
    stream.finish()
    assert text not in out.getvalue()
    assert "\ufffd" in ANSI.sub("", out.getvalue())
    assert harmless("tab\t\nline\r\n") == "tab\t\nline\n"


@settings(max_examples=150, deadline=None)
@given(st.text("ab *_`#->|[]()!<&\n\t1.日~=:\\", max_size=80), st.integers(1, 30))
def test_no_text_breaks_the_renderer(markup: str, width: int) -> None:
    Renderer(StringIO()).lines(markup, width)
