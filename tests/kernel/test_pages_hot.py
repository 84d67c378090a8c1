"""Hot pages: prefixes on disk that are mapped in without being read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from llmos.engine.scripted import ScriptedEngine
from llmos.errors import StorageError
from llmos.events import Finished
from llmos.kernel import paging, paging_hot
from llmos.kernel.paging_hot import HotPages
from llmos.kernel.process import Process
from llmos.kernel.protocols import Engine
from llmos.kernel.system import Task
from llmos.messages import GREEDY, Context, Generate, Message, ToolSpec
from tests.kernel.conftest import MakeSystem

MANUAL = (Message("system", "Be brief."), Message("user", "The valve is closed by hand. " * 100))


async def read_anew(engine: Engine, context: Context) -> int:
    """Tokens that a question after a prefix has the engine read."""
    request = Generate(context=context.add(Message("user", "And the valve?")), max_tokens=4, sampling=GREEDY)
    (end,) = [event async for event in engine.generate(request) if isinstance(event, Finished)]
    return end.usage.prompt_tokens - end.usage.reused_tokens


class Unforked(ScriptedEngine):
    """It would fail if it had to read a prefix."""

    async def fork(self, context: Context, n: int, /) -> tuple[Context, ...]:
        raise AssertionError("the prefix is read")


async def test_the_second_start_reads_nothing_of_the_prefix(tmp_path: Path) -> None:
    first, second = ScriptedEngine("Fine."), Unforked("Fine.")
    folder = tmp_path / "hot"
    one = await HotPages(folder, first).prefix(MANUAL)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    two = await HotPages(folder, second).prefix(MANUAL)
    assert (two.messages, two.tokens) == (MANUAL, one.tokens)
    assert await read_anew(second, two) < 20
    assert await read_anew(ScriptedEngine("Fine."), Context(messages=MANUAL)) > 500


@pytest.mark.parametrize("damage", [b"", b"garbage", b'{"type":"Context","messages":[]}\n'])
async def test_a_damaged_file_is_read_again_and_replaced(tmp_path: Path, damage: bytes) -> None:
    await HotPages(tmp_path, ScriptedEngine("Fine.")).prefix(MANUAL)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage)
    again = await HotPages(tmp_path, ScriptedEngine("Fine.")).prefix(MANUAL)
    assert again.tokens
    assert file.read_bytes() == whole


async def test_another_model_other_words_and_other_tools_have_files_of_their_own(tmp_path: Path) -> None:
    await HotPages(tmp_path, ScriptedEngine("Fine.")).prefix(MANUAL)
    await HotPages(tmp_path, ScriptedEngine("Fine.", name="other")).prefix(MANUAL)
    await HotPages(tmp_path, ScriptedEngine("Fine.")).prefix(MANUAL[:1])
    await HotPages(tmp_path, ScriptedEngine("Fine.")).prefix(MANUAL, tools=(ToolSpec("read"),))
    assert len(list(tmp_path.iterdir())) == 4


async def test_what_was_used_longest_ago_goes_when_there_is_too_much(tmp_path: Path) -> None:
    engine = ScriptedEngine("Fine.")
    texts = [(Message("system", f"{number} " + "word " * 200),) for number in range(4)]
    await HotPages(tmp_path, engine).prefix(texts[0])
    size = next(tmp_path.iterdir()).stat().st_size
    names: list[set[str]] = []
    for number in (1, 2, 0, 3):  # the first one is used again before the last one comes
        await HotPages(tmp_path, engine, limit_bytes=3 * size + size // 2).prefix(texts[number])
        names.append({path.name for path in tmp_path.iterdir()})
    gone = names[2] - names[3]
    assert len(names[3]) == 3
    assert gone == names[0] - names[3]
    assert gone
    assert names[3] >= names[1] - names[0]
    assert paging_hot.forget(tmp_path) == 3
    assert not list(tmp_path.iterdir())


async def test_a_folder_that_cant_be_written_only_means_reading_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    known = await HotPages(tmp_path / "file" / "hot", ScriptedEngine("Fine.")).prefix(MANUAL)
    assert known.tokens


async def test_a_disk_that_is_full_only_means_reading_again(tmp_path: Path) -> None:
    class Full(ScriptedEngine):
        async def save(self, context: Context, path: Path, /) -> None:
            raise StorageError("No room.")

    assert (await HotPages(tmp_path, Full("Fine.")).prefix(MANUAL)).tokens


async def test_an_engine_without_state_gives_the_bare_context(tmp_path: Path) -> None:
    engine = ScriptedEngine("Fine.", capabilities=frozenset({"constrain"}))
    assert await HotPages(tmp_path / "hot", engine).prefix(MANUAL) == Context(messages=MANUAL)
    assert not (tmp_path / "hot").exists()


async def test_a_process_keeps_the_pinned_pages_that_its_context_begins_with(
    make_system: MakeSystem, tmp_path: Path
) -> None:
    async def agent(process: Process) -> int:
        paging.hear(process, MANUAL[1], kind="retrieved", owner="manual", pinned=True)
        usage = (await process.think("And the valve?")).usage
        await process.think("And now?")
        return usage.prompt_tokens - usage.reused_tokens

    first = await make_system(agent, engine=ScriptedEngine("Fine.", context=2048)).start(Task(agent="agent")).result()
    assert len(list((tmp_path / "hot").iterdir())) == 1
    engine = Unforked("Fine.", context=2048)
    second = await make_system(agent, engine=engine).start(Task(agent="agent")).result()
    assert len(list((tmp_path / "hot").iterdir())) == 1
    assert first < 20
    assert second < 20


@pytest.mark.model
async def test_a_real_engine_maps_a_prefix_in_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmos.engine.llama import LlamaEngine, LlamaOptions
    from llmos.engine.store.builtin import find

    options = LlamaOptions(context=1024, cells=1024, slots=2)
    messages = (Message("system", "Be brief."), Message("user", "The valve is closed by hand. " * 60))
    engine = await LlamaEngine.load(find().path, options)
    try:
        await HotPages(tmp_path, engine).prefix(messages)
    finally:
        await engine.close()
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    engine = await LlamaEngine.load(find().path, options)
    try:
        monkeypatch.setattr(engine, "fork", Unforked("").fork)
        assert await read_anew(engine, await HotPages(tmp_path, engine).prefix(messages)) < 24
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(AssertionError, match="the prefix is read"):
            await HotPages(tmp_path, engine).prefix(messages)
    finally:
        await engine.close()
