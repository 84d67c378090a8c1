"""The file tools, on real files."""

from __future__ import annotations

import os
import time

import pytest

from llmos.errors import Unsupported
from llmos.kernel.calls import Result
from llmos.kernel.protocols import Device
from llmos.tools.builtin.files import edit_file, list_files, read_file, search_files, write_file
from tests.tools.helpers import Place


async def run(device: Device, place: Place, /, **arguments: str | int) -> Result:
    return await device.call(device.check(arguments), place.access())


async def test_a_list_says_which_file_is_largest_smallest_newest_and_oldest(place: Place) -> None:
    for number, (name, size) in enumerate([("b.txt", 300), ("a.txt", 20_000), ("c.txt", 7)]):
        os.utime(place.write(name, "x" * size), (1000 + number, 1000 + number))
    place.write("notes/d.md", "x" * 90_000)
    result = await run(list_files, place)
    assert result.text.splitlines()[0].startswith("a.txt  20,000 bytes")
    assert result.text.splitlines()[3] == "notes/"
    assert "3 files, 1 folder. Largest: a.txt (20,000 bytes). Smallest: c.txt (7 bytes)." in result.text
    assert "Newest: c.txt. Oldest: b.txt. Together 20,307 bytes." in result.text
    assert result.value[0]["path"] == "a.txt"
    assert result.value[0]["bytes"] == 20_000
    assert result.label == "files"


@pytest.mark.parametrize(
    ("sort", "names"), [("name", ["a", "B", "c"]), ("size", ["B", "c", "a"]), ("newest", ["c", "a", "B"])]
)
async def test_a_list_can_be_sorted(sort: str, names: list[str], place: Place) -> None:
    for name, size, when in (("a", 1, 2), ("B", 3, 1), ("c", 2, 3)):
        os.utime(place.write(name, "x" * size), (when, when))
    assert [record["path"] for record in (await run(list_files, place, sort=sort)).value] == names


async def test_a_folder_of_thousands_is_listed_in_bounds(place: Place) -> None:
    for number in range(2100):
        place.write(f"f{number:04}", "x")
    result = await run(list_files, place)
    assert "… more than 2,000 entries" in result.text
    assert len(result.value) == 100


async def test_an_empty_folder_and_a_missing_one(place: Place) -> None:
    assert (await run(list_files, place)).text == "0 files, 0 folders."
    place.write("notes/a", "x")
    result = await run(list_files, place, folder="nots")
    assert (result.retry, result.text) == (True, "There is no 'nots' here. Did you mean 'notes'?")


async def test_a_text_is_read_and_a_long_one_in_parts(place: Place) -> None:
    place.write("a.txt", "hello\nworld\n")
    assert (await run(read_file, place, path="a.txt")).text == "hello\nworld\n"
    assert (await run(read_file, place, path="a.txt", start=2)).text == "world\n"
    assert (await run(read_file, place, path="a.txt", start=9)).text == "The file has fewer than 9 lines."
    place.write("long.txt", "".join(f"line {number}\n" for number in range(1, 5001)))
    seen: list[str] = []
    start = 1
    for _ in range(20):
        text = (await run(read_file, place, path="long.txt", start=start)).text
        assert len(text.encode()) < 16_384
        lines = text.splitlines()
        if not lines[-1].startswith("… goes on"):
            seen += lines
            break
        seen += lines[:-1]
        start = int(lines[-1].rpartition("=")[2])
    assert seen == [f"line {number}" for number in range(1, 5001)]


async def test_one_endless_line_is_cut(place: Place) -> None:
    place.write("line.txt", "ü" * 5_000_000)
    result = await run(read_file, place, path="line.txt")
    assert result.text.endswith("ü\n… the line goes on")
    assert (await run(read_file, place, path="line.txt", start=2)).text == "The file has fewer than 2 lines."


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"caf\xe9", "caf\N{REPLACEMENT CHARACTER}"),
        ("grün".encode("utf-16"), "grün"),
        (b"\xef\xbb\xbfbom", "bom"),
        (b"a\r\nb", "a\nb"),
        (b"", "The file is empty."),
    ],
)
async def test_other_encodings_are_read(content: bytes, text: str, place: Place) -> None:
    place.write("a.txt", content)
    assert (await run(read_file, place, path="a.txt")).text == text


async def test_binary_data_is_refused_with_its_size(place: Place) -> None:
    place.write("a.bin", b"\x7fELF\0\1\2")
    result = await run(read_file, place, path="a.bin")
    assert (result.failed, result.text) == (True, "'a.bin' is not text but 7 bytes of binary data.")
    assert (await run(edit_file, place, path="a.bin", old="ELF", new="x")).failed


async def test_output_that_was_saved_can_be_read_and_counts_as_from_outside(place: Place) -> None:
    place.folder.mkdir()
    (place.folder / "http_get-1.txt").write_text("from the web")
    result = await run(read_file, place, path=str(place.folder / "http_get-1.txt"))
    assert (result.text, result.label) == ("from the web", "outside")


async def test_words_are_found_in_all_folders_and_in_names(place: Place) -> None:
    place.write("notes/lease.md", "The Deposit is 900 euros.\nnothing\n")
    place.write("deposit.txt", "x")
    place.write("b.bin", b"deposit\0")
    place.write("old.txt", "pr\xe9 DEPOSIT".encode("latin-1"))
    result = await run(search_files, place, text="deposit")
    assert result.text.splitlines() == [
        "deposit.txt",
        "notes/lease.md:1: The Deposit is 900 euros.",
        "old.txt:1: pr\N{REPLACEMENT CHARACTER} DEPOSIT",
    ]
    assert result.value[1] == {"path": "notes/lease.md", "line": 1, "text": "The Deposit is 900 euros."}
    assert (await run(search_files, place, text="nowhere")).text == "Nothing found in 4 files."


async def test_a_search_stops_at_its_bound(place: Place) -> None:
    for number in range(80):
        place.write(f"{number:02}.txt", "word\n" * 100)
    result = await run(search_files, place, text="word")
    assert len(result.value) == 50
    assert result.text.endswith("… perhaps more")


async def test_writing_shows_the_difference_keeps_what_was_there_and_can_be_undone(place: Place) -> None:
    file = place.write("notes/a.txt", "one\ntwo\n")
    arguments = {"path": "notes/a.txt", "text": "one\nthree\n"}
    assert write_file.show(arguments, place.access()) == (
        "--- notes/a.txt now\n+++ notes/a.txt then\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    )
    assert file.read_text() == "one\ntwo\n"
    result = await run(write_file, place, **arguments)
    assert result.text == "Wrote notes/a.txt (10 bytes)."
    assert file.read_text() == "one\nthree\n"
    assert place.kept == [(file, b"one\ntwo\n")]
    place.undo()
    assert file.read_text() == "one\ntwo\n"


async def test_a_new_file_is_made_with_its_folders(place: Place) -> None:
    shown = write_file.show({"path": "x/y/new.txt", "text": "a\nb"}, place.access())
    assert shown == "create x/y/new.txt (3 bytes)\n+a\n+b\n\\ no line end\n"
    assert not (place.workspace / "x").exists()
    await run(write_file, place, path="x/y/new.txt", text="a\nb")
    assert (place.workspace / "x/y/new.txt").read_text() == "a\nb"
    place.undo()
    assert not (place.workspace / "x/y/new.txt").exists()


def test_a_difference_hides_no_character(place: Place) -> None:
    shown = write_file.show({"path": "a.sh", "text": "rm \u202e-rf\x1b[8m\r\n"}, place.access())
    assert "+rm \\u202e-rf\\x1b[8m\\r\n" in shown


async def test_nothing_is_written_where_nothing_could_be_kept(place: Place) -> None:
    file = place.write("a.txt", "old")
    access = place.access()

    async def full(path: object) -> None:
        raise OSError("disk full")

    object.__setattr__(access, "keep", full)
    result = await write_file.call({"path": "a.txt", "text": "new"}, access)
    assert result.failed
    assert file.read_text() == "old"


async def test_a_few_words_are_changed_and_every_other_byte_stays(place: Place) -> None:
    file = place.write("a.txt", b"caf\xe9 Monday\r\nand more\r\n")
    await run(edit_file, place, path="a.txt", old="Monday\nand", new="Tuesday\nor")
    assert file.read_bytes() == b"caf\xe9 Tuesday\r\nor more\r\n"


async def test_an_edit_that_is_not_clear_says_what_to_change(place: Place) -> None:
    place.write("a.txt", "one two one\nthe meeting is on Monday\n")
    twice = await run(edit_file, place, path="a.txt", old="one", new="x")
    assert (twice.retry, "stands in 'a.txt' 2 times" in twice.text) == (True, True)
    close = await run(edit_file, place, path="a.txt", old="the meeting was on Monday", new="x")
    assert "It has the line 'the meeting is on Monday'" in close.text
    assert "would fail" in edit_file.show({"path": "a.txt", "old": "one", "new": "x"}, place.access())
    assert (place.workspace / "a.txt").read_text() == "one two one\nthe meeting is on Monday\n"


async def test_whether_an_edit_was_carried_out_can_be_read_back(place: Place) -> None:
    place.write("a.txt", "Monday\n")
    arguments = {"path": "a.txt", "old": "Monday", "new": "Tuesday"}
    assert await edit_file.done(arguments, place.access()) is None
    await run(edit_file, place, **arguments)
    done = await edit_file.done(arguments, place.access())
    assert done is not None
    assert done.text == "Changed a.txt."
    place.write("a.txt", "Monday Tuesday")
    with pytest.raises(Unsupported):
        await edit_file.done(arguments, place.access())


async def test_a_tool_call_does_not_take_long(place: Place) -> None:
    place.write("a.txt", "x")
    started = time.perf_counter()
    for _ in range(50):
        await run(read_file, place, path="a.txt")
    assert time.perf_counter() - started < 5
