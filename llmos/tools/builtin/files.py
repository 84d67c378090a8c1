"""Tools for the files of the workspace: list, read, search, write, edit.

Paths can't lead out (`llmos.tools.workspace`), and what is overwritten is kept first, so that it can be undone.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TextIO

from annotated_types import Ge, MaxLen, MinLen

from llmos.errors import Unsupported
from llmos.kernel.protocols import Access
from llmos.tools.output import Output
from llmos.tools.threads import in_thread
from llmos.tools.tool import Failed, Retry, tool
from llmos.tools.workspace import Entry, Place, Workspace

MAX_SHOWN = 15_000
MAX_EDITED = 10_000_000
MAX_LISTED = 2_000
MAX_ROWS = 100
MAX_SEARCHED = 20_000
MAX_HITS = 50
MAX_COMPARED = 3_000

Location = Annotated[str, MinLen(1), MaxLen(200)]
Text = Annotated[str, MaxLen(20_000)]


@tool(
    effect="reads",
    steers=("folder",),
    returns="files",
    confined="workspace",
    seconds=20,
    examples=(
        ("what files are in the notes folder?", {"folder": "notes"}),
        ("show me the biggest files here", {"sort": "size"}),
    ),
)
def list_files(
    access: Access,
    folder: Annotated[str, "the folder, . for here", MaxLen(200)] = ".",
    sort: Annotated[Literal["name", "size", "newest"], "what comes first"] = "name",
) -> Output:
    """List the files in a folder with sizes: how many there are, which is the largest, smallest, newest, oldest."""
    found, more = Workspace(access.workspace).entries(folder or ".", limit=MAX_LISTED)
    found.sort(key=_order(sort))
    rows = [_row(entry) for entry in found[:MAX_ROWS]]
    left = len(found) - len(rows)
    if more:
        rows.append(f"… more than {MAX_LISTED:,} entries")
    elif left:
        rows.append(f"… {left:,} more")
    records = [
        {
            "path": entry.path,
            "kind": "folder" if entry.folder else "file",
            "bytes": None if entry.folder else entry.size,
            "modified": _time(entry),
        }
        for entry in found[:MAX_ROWS]
    ]
    return Output("\n".join([*rows, _summary(found)]), records)


def _order(sort: str) -> Callable[[Entry], tuple[bool, float, str]]:
    """The key to sort by: files before folders."""
    match sort:
        case "size":
            return lambda entry: (entry.folder, -entry.size, entry.path)
        case "newest":
            return lambda entry: (entry.folder, -entry.modified, entry.path)
        case _:
            return lambda entry: (entry.folder, 0, entry.path.lower())


def _row(entry: Entry) -> str:
    return f"{entry.path}/" if entry.folder else f"{entry.path}  {entry.size:,} bytes  {_time(entry)}"


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.modified).strftime("%Y-%m-%d %H:%M")


def _summary(found: list[Entry]) -> str:
    """The facts that are asked for most, so that no model has to compare numbers."""
    files = [entry for entry in found if not entry.folder]
    counted = f"{_count(len(files), 'file')}, {_count(len(found) - len(files), 'folder')}."
    if not files:
        return counted
    by_size = sorted(files, key=lambda entry: entry.size)
    by_time = sorted(files, key=lambda entry: entry.modified)
    return (
        f"{counted} Largest: {by_size[-1].path} ({by_size[-1].size:,} bytes). "
        f"Smallest: {by_size[0].path} ({by_size[0].size:,} bytes). "
        f"Newest: {by_time[-1].path}. Oldest: {by_time[0].path}. "
        f"Together {sum(entry.size for entry in files):,} bytes."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@tool(
    effect="reads",
    steers=("path",),
    returns="files",
    confined="workspace",
    seconds=20,
    examples=(
        ("what does todo.txt say?", {"path": "todo.txt"}),
        ("summarize docs/plan.md", {"path": "docs/plan.md"}),
    ),
)
def read_file(
    access: Access,
    path: Annotated[Location, "the file"],
    start: Annotated[int, "first line wanted", Ge(1)] = 1,
) -> Output:
    """Read a text file: what it says, what is in it."""
    saved = _saved(path, access)
    workspace = Workspace(access.folder if saved else access.workspace)
    with workspace.file(saved or path) as descriptor:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, 8192, 0)
        encoding = _encoding(head)
        if encoding is None:
            raise Failed(f"{path!r} is not text but {size:,} bytes of binary data.")
        with open(descriptor, encoding=encoding, errors="replace", newline=None, closefd=False) as file:
            _skip(file, start - 1)
            text = file.read(MAX_SHOWN + 1)
    if not text:
        return Output("The file is empty." if start == 1 else f"The file has fewer than {start} lines.")
    return Output(_shorten(text, start), label="outside" if saved else None)


def _saved(path: str, access: Access) -> str:
    """The path in the run's own folder, if it is one of the files where long output was saved."""
    if not path.startswith("/"):
        return ""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(access.folder))
    return ""


def _encoding(head: bytes) -> str | None:
    """How a text file that begins so is encoded; None if it is no text."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    return None if b"\0" in head else "utf-8"


def _skip(file: TextIO, lines: int) -> None:
    """Read over lines in pieces, since one line may be larger than memory."""
    while lines > 0:
        piece = file.readline(65_536)
        if not piece:
            return
        lines -= piece.endswith("\n")


def _shorten(text: str, start: int) -> str:
    """As much of a text as fits, ended at a line, and how to read on."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= MAX_SHOWN:
        return raw.decode()
    shown = raw[:MAX_SHOWN].decode("utf-8", "ignore")
    whole, newline, _ = shown.rpartition("\n")
    if not newline:
        return f"{shown}\n… the line goes on"
    return f"{whole}\n… goes on: read from start={start + whole.count(chr(10)) + 1}"


@tool(
    effect="reads",
    steers=("folder",),
    returns="files",
    confined="workspace",
    seconds=30,
    examples=(
        ("which file mentions the deposit?", {"text": "deposit"}),
        ("find TODO in src", {"text": "TODO", "folder": "src"}),
    ),
)
def search_files(
    access: Access,
    text: Annotated[str, "the word or phrase to look for", MinLen(1), MaxLen(100)],
    folder: Annotated[str, "where, . for everywhere", MaxLen(200)] = ".",
) -> Output:
    """Find which files contain a word or phrase, or have it in their name, in all folders."""
    workspace = Workspace(access.workspace)
    wanted = text.casefold()
    hits: list[dict[str, str | int]] = []
    searched = 0
    for entry in workspace.walk(folder or ".", limit=MAX_SEARCHED):
        searched += 1
        if wanted in entry.path.casefold():
            hits.append({"path": entry.path, "line": 0, "text": ""})
        if entry.size <= MAX_EDITED:
            with contextlib.suppress(Failed, Retry):  # gone or replaced meanwhile
                hits += _hits(workspace, entry.path, wanted)
        if len(hits) >= MAX_HITS:
            break
    if not hits:
        return Output(f"Nothing found in {_count(searched, 'file')}.", [])
    rows = [
        f"{hit['path']}:{hit['line']}: {hit['text']}" if hit["line"] else str(hit["path"]) for hit in hits[:MAX_HITS]
    ]
    more = "\n… perhaps more" if len(hits) >= MAX_HITS else ""
    return Output("\n".join(rows) + more, hits[:MAX_HITS])


def _hits(workspace: Workspace, path: str, wanted: str) -> list[dict[str, str | int]]:
    content = workspace.read(path, limit=MAX_EDITED)
    encoding = _encoding(content[:8192])
    if encoding is None:
        return []
    text = content.decode(encoding, "replace")
    if wanted not in text.casefold():
        return []
    found: list[dict[str, str | int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        place = line.casefold().find(wanted)
        if place >= 0:
            found.append({"path": path, "line": number, "text": line[max(0, place - 80) : place + 120].strip()})
            if len(found) == 10:
                break
    return found


@tool(
    effect="writes",
    steers=("path",),
    returns="files",
    repeatable=True,
    confined="workspace",
    seconds=20,
    examples=(
        ("save the text hello there in greeting.txt", {"path": "greeting.txt", "text": "hello there"}),
        ("make a file ideas.md with the line - paint the door", {"path": "ideas.md", "text": "- paint the door"}),
    ),
)
async def write_file(
    access: Access, path: Annotated[Location, "the file"], text: Annotated[Text, "all that shall be in it"]
) -> str:
    """Write a text into a file: create it, or replace all that is in it."""
    return await _replace(access, path, text.encode())


@write_file.shows
def show_write(access: Access, path: str, text: str) -> str:
    """The difference that writing makes."""
    return _difference(path, _current(access, path), text.encode())


@tool(
    effect="writes",
    steers=("path",),
    returns="files",
    confined="workspace",
    seconds=20,
    examples=(
        ("in letter.txt change Monday to Tuesday", {"path": "letter.txt", "old": "Monday", "new": "Tuesday"}),
        ("replace red by blue in colors.css", {"path": "colors.css", "old": "red", "new": "blue"}),
    ),
)
async def edit_file(
    access: Access,
    path: Annotated[Location, "the file"],
    old: Annotated[str, "the words to replace, as they stand there", MinLen(1), MaxLen(2_000)],
    new: Annotated[str, "the words that come instead", MaxLen(4_000)],
) -> str:
    """Change some words in a file: replace old words by new ones, or delete them."""
    content = await in_thread(lambda: _edited(Workspace(access.workspace).read(path, limit=MAX_EDITED), path, old, new))
    return await _replace(access, path, content)


@edit_file.shows
def show_edit(access: Access, path: str, old: str, new: str) -> str:
    """The difference that the edit makes."""
    before = Workspace(access.workspace).read(path, limit=MAX_EDITED)
    return _difference(path, before, _edited(before, path, old, new))


@edit_file.reads_back
def was_edited(access: Access, path: str, old: str, new: str) -> str | None:
    """Whether the file has the new words in place of the old ones."""
    before = _current(access, path) or b""
    there, instead = old.encode() in before, new.encode() in before
    if there and not (new and instead):
        return None
    if instead and not there:
        return f"Changed {path}."
    raise Unsupported(f"{path!r} has both the old and the new words, or neither.")


def _edited(content: bytes, path: str, old: str, new: str) -> bytes:
    """A file's content with one place changed; bytes that are not UTF-8 stay as they are."""
    if b"\0" in content[:8192]:
        raise Failed(f"{path!r} is not text.")
    text = content.decode("utf-8", "surrogateescape")
    if old not in text and "\r\n" in text:
        old, new = old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
    count = text.count(old)
    if count > 1:
        raise Retry(f"{old!r} stands in {path!r} {count} times: give more of the text around the place you mean.")
    if count == 0:
        close = difflib.get_close_matches(old, text.splitlines()[:5_000], 1, 0.5)
        raise Retry(f"{old!r} is not in {path!r}." + (f" It has the line {close[0]!r}." if close else ""))
    return text.replace(old, new).encode("utf-8", "surrogateescape")


def _current(access: Access, path: str) -> bytes | None:
    """What is in a file now; None if there is no such file."""
    try:
        return Workspace(access.workspace).read(path, limit=MAX_EDITED)
    except Retry:
        return None


async def put(access: Access, path: str, content: bytes) -> Place:
    """Write a whole file of the workspace, after what it was has been kept for `undo`; where it is."""
    workspace = Workspace(access.workspace)

    def locate() -> Path:
        with workspace.place(path, create=True) as place:
            return place.absolute

    await access.keep(await in_thread(locate))
    return await in_thread(lambda: workspace.write(path, content))


async def _replace(access: Access, path: str, content: bytes) -> str:
    place = await put(access, path, content)
    return f"Wrote {place.path} ({len(content):,} bytes)."


def _difference(path: str, before: bytes | None, after: bytes) -> str:
    """A unified diff, or the whole new text where there is nothing to compare it with."""
    new = after.decode("utf-8", "replace")
    if before is None:
        return f"create {path} ({len(after):,} bytes)\n" + "".join(f"+{line}" for line in _lines(new))
    if before == after:
        return f"write {path}: it stays as it is"
    old = before.decode("utf-8", "replace")
    if max(old.count("\n"), new.count("\n")) > MAX_COMPARED:
        return f"replace {path} ({len(before):,} bytes) by {len(after):,} bytes:\n{new}"
    return "".join(difflib.unified_diff(_lines(old), _lines(new), f"{path} now", f"{path} then"))


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n\\ no line end\n"
    return lines
