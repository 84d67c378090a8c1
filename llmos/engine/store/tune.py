"""Finds the format in which a model runs fastest on this machine without getting worse, and keeps it.

`tune` races formats against each other: each is made from the GGUF by llama.cpp's own quantizer, measured, and kept
only if it wins. `quick_default` does in seconds what is known to pay for the embedded model. `tuned_path` finds what
either of them made. All of llama.cpp runs in child processes (`tune_child`); this module imports nothing heavy.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from llmos.engine.fit import usable_ram
from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.guard import check_real_model_allowed, real_models_forbidden
from llmos.engine.hardware import Hardware, detect, gigabytes
from llmos.engine.store.tune_cache import (
    TuneReport,
    TuneRow,
    content_key,
    folder,
    model_path,
    read_note,
    tuned_file,
    tuned_path,
    write_note,
)
from llmos.engine.store.tune_child import FORMATS, measure, quantize, requantize
from llmos.errors import ConfigError, EngineCrashed, LlmosError, StorageError

__all__ = [
    "FORMATS",
    "TuneReport",
    "TuneRow",
    "candidates_for",
    "is_quick_due",
    "measure",
    "quick_default",
    "tune",
    "tuned_path",
]

Progress = Callable[[str, float], None]
"""Called with what is being done now, and the share of the work that is done (0 to 1). What it raises ends the race."""

WORST_PERPLEXITY = 1.02
"""What a candidate's perplexity may be, relative to the source's."""
_CLEARLY_FASTER = 1.03
_TEXT_TOKENS = 1_700
_QUICK_TOKENS = 256
_SLOW_FORMATS = frozenset({"Q4_1", "Q5_0", "Q5_1"})
"""Formats without a repacked kernel: prefill in them takes about twice as long as in Q8_0."""
_HEADROOM = 1.05
_GIGABYTE = 1_000_000_000


def candidates_for(header: GgufHeader) -> tuple[str, ...]:
    """Formats worth trying, the likeliest winner first. Nothing is gained by more bits than 8 over a coarser source."""
    bits = _bits(header)
    if bits > 17:
        return ("BF16", "Q8_0", "Q6_K", "Q4_K_M", "Q4_0")
    if bits > 9:
        return ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
    if bits > 7.5:
        return ("Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
    return ("Q8_0", "Q6_K", "Q4_K_M", "Q4_0")


def _bits(header: GgufHeader) -> float:
    return 8 * header.tensor_bytes / max(1, header.parameters)


def tune(path: Path, *, progress: Progress | None = None, candidates: Sequence[str] | None = None) -> TuneReport:
    """Race formats of a model against the file as it is, and keep the winner in the cache.

    The winner is the fastest (geometric mean of prefill, decode, and decode with 16 streams, each against the source
    measured just before and just after) among those whose perplexity on the text that ships is at most 2 % over the
    source's; a candidate must be 3 % faster to replace the source. Takes minutes; the more, the bigger the model.

    Args:
        path: A GGUF model, of a split one the first part.
        progress: Told of each step.
        candidates: Formats to try, of `FORMATS`; by default those of `candidates_for`.

    Raises:
        ModelNotFound, ModelInvalid: It can't be read as a model.
        ConfigError: A candidate is none of `FORMATS`.
        StorageError: There is too little disk space; the message has the numbers.
        EngineCrashed: llama.cpp can't run the source.
    """
    check_real_model_allowed(str(path))
    header = read_header(path)
    header.require_model()
    names = tuple(candidates) if candidates is not None else candidates_for(header)
    if unknown := [name for name in names if name not in FORMATS]:
        raise ConfigError(f"Can't tune to {unknown[0]!r}.", hint=f"Choose from {', '.join(FORMATS)}.")
    names = tuple(name for name in names if name != header.file_type)
    return _Race(header, detect(), progress or (lambda what, share: None), len(names)).run(names)


class _Race:
    """One run of `tune`."""

    def __init__(self, header: GgufHeader, hardware: Hardware, progress: Progress, entrants: int) -> None:
        self._header = header
        self._hardware = hardware
        self._progress = progress
        self._steps = 2 * entrants + 1
        self._done = 0
        self._key = content_key(header.path)
        self._limit = max(256, min(_TEXT_TOKENS, _TEXT_TOKENS * _GIGABYTE // max(1, header.tensor_bytes)))
        self._source: TuneRow = TuneRow(format=header.file_type, bytes=header.file_bytes)

    def run(self, names: Sequence[str]) -> TuneReport:
        """Measure the source, then each candidate, and keep the best."""
        started = time.monotonic()
        self._check_disk(names)
        self._source = self._measured(self._source, self._header.path, self._limit)
        rows: list[TuneRow] = []
        best: tuple[TuneRow, Path] | None = None
        with scratch() as place:
            for name in names:
                file = place / f"{name}.gguf"
                row = self._try(name, file)
                rows.append(row)
                if not row.why and row.speedup > max(_CLEARLY_FASTER, best[0].speedup if best else 0):
                    if best:
                        best[1].unlink()
                    best = (row, file)
                else:
                    file.unlink(missing_ok=True)
            return self._keep(rows, best, time.monotonic() - started)

    def _try(self, name: str, file: Path) -> TuneRow:
        """One candidate's row; `why` is set where it is out of the race."""
        row = TuneRow(format=name, bytes=_estimate(self._header, name))
        if row.bytes * _HEADROOM > usable_ram(self._hardware):
            self._done += 2
            return replace(row, why=f"needs more than the {gigabytes(usable_ram(self._hardware))} that can be used")
        before = self._source
        try:
            self._step(f"making {name}")
            quantize(self._header, file, name, threads=self._hardware.threads)
            row = self._measured(replace(row, bytes=file.stat().st_size), file, self._limit)
        except EngineCrashed as error:
            return replace(row, why=f"failed: {error.message}")
        self._source = _best_of(before, self._measured(before, self._header.path, 0, quiet=True))
        row = replace(row, speedup=_speedup(row, before, self._source))
        worse = row.perplexity / self._source.perplexity
        return row if worse <= WORST_PERPLEXITY else replace(row, why=f"perplexity {worse - 1:+.1%}")

    def _measured(self, row: TuneRow, file: Path, limit: int, *, quiet: bool = False) -> TuneRow:
        if not quiet:
            self._step(f"measuring {row.format}")
        figures = measure(self._header, file, limit=limit, speed=True, hardware=self._hardware)
        # processor time tells little of what a GPU does, and the clock on the wall little of a busy machine
        clock = "" if self._hardware.offload else "_work"
        return replace(
            row,
            prefill=figures[f"prefill{clock}"],
            decode=figures[f"decode{clock}"],
            decode16=figures[f"decode16{clock}"],
            perplexity=figures.get("perplexity", row.perplexity),
        )

    def _step(self, what: str) -> None:
        self._progress(what, self._done / self._steps)
        self._done += 1

    def _keep(self, rows: Sequence[TuneRow], best: tuple[TuneRow, Path] | None, seconds: float) -> TuneReport:
        kept: Path | None = None
        if best:
            kept = model_path(self._header.path, self._key, best[0].format)
            _move(best[1], kept)
        chosen = best[0].format if best else self._source.format
        source = replace(self._source, speedup=1.0)
        final = tuple(_judged(row, chosen) for row in (source, *rows))
        write_note(self._header.path, self._key, self._header.fingerprint, final, kept)
        _drop_others(self._header.path, self._key, kept)
        self._progress(f"{chosen} is the fastest", 1.0)
        return TuneReport(source=self._header.path, path=kept or self._header.path, rows=final, seconds=seconds)

    def _check_disk(self, names: Sequence[str]) -> None:
        # the best so far and the one being measured are there at once
        largest = sorted(_estimate(self._header, name) for name in names)[-2:]
        check_disk(int(sum(largest) * _HEADROOM), self._header.path)


def _judged(row: TuneRow, chosen: str) -> TuneRow:
    if row.format == chosen:
        return replace(row, chosen=True, why="the fastest that is as good")
    return row if row.why else replace(row, why="slower")


def _speedup(row: TuneRow, before: TuneRow, after: TuneRow) -> float:
    """Geometric mean of the three speeds against the mean of the source's before and after."""
    ratios = (
        2 * row.prefill / (before.prefill + after.prefill),
        2 * row.decode / (before.decode + after.decode),
        2 * row.decode16 / (before.decode16 + after.decode16),
    )
    return math.prod(ratios) ** (1 / 3)


def _best_of(one: TuneRow, other: TuneRow) -> TuneRow:
    """The same file measured twice: what disturbs only slows down."""
    return replace(
        one,
        prefill=max(one.prefill, other.prefill),
        decode=max(one.decode, other.decode),
        decode16=max(one.decode16, other.decode16),
    )


def quick_default(path: Path, *, stop: threading.Event | None = None) -> Path:
    """The form in which to run a model whose format is slow everywhere; in seconds, where `tune` takes minutes.

    A 4- or 5-bit legacy format becomes Q8_0 (on a Zen 4 with AVX-512 2.2 times as fast in prefill and 1.4 times with 16
    streams, at +0.2 % perplexity), if its perplexity on a short text agrees, and the result is kept as if by `tune`.
    Other formats, machines with a GPU (where more bits only mean more to read), processors without fast 8-bit
    arithmetic, and whatever goes wrong on the way: the model stays as it is.

    Args:
        stop: Set by another thread to have it given up.
    """
    decided = _decided(path)
    if decided is not None:
        return decided
    check_real_model_allowed(str(path))
    try:
        work = _quick_work(path)
        return path if work is None else _quick(*work, stop)
    except LlmosError:
        return path


def is_quick_due(path: Path) -> bool:
    """Whether `quick_default` would now make another form of a model, which takes from seconds to a minute."""
    if real_models_forbidden() or _decided(path) is not None:
        return False
    try:
        return _quick_work(path) is not None
    except LlmosError:
        return False


def _decided(path: Path) -> Path | None:
    """The file to run that a note names, which may be the model as it is; None without a valid note."""
    note = read_note(path)
    if note is None:
        return None
    return tuned_file(note) if note.get("file") else path


def _quick_work(path: Path) -> tuple[GgufHeader, Hardware] | None:
    """What `_quick` works on; None where nothing is gained by it."""
    header, hardware = read_header(path), detect()
    return (header, hardware) if header.file_type in _SLOW_FORMATS and _likes_8_bits(hardware) else None


def _likes_8_bits(hardware: Hardware) -> bool:
    return not hardware.offload and bool(hardware.features & {"avx2", "dotprod"})


def _quick(header: GgufHeader, hardware: Hardware, stop: threading.Event | None) -> Path:
    estimate = _estimate(header, "Q8_0")
    check_disk(int(estimate * _HEADROOM), header.path)
    if estimate * _HEADROOM > usable_ram(hardware):
        return header.path
    key = content_key(header.path)
    with scratch() as place:
        file = place / "Q8_0.gguf"
        threads = hardware.threads
        before, after = requantize(header, file, "Q8_0", limit=_QUICK_TOKENS, threads=threads, stop=stop)
        good = after <= before * WORST_PERPLEXITY
        size = file.stat().st_size
        kept = model_path(header.path, key, "Q8_0") if good else None
        if kept:
            _move(file, kept)
    why = "not raced: Q8_0 is known to be faster, if it is as good"
    rows = (
        TuneRow(format=header.file_type, bytes=header.file_bytes, perplexity=before, chosen=not good, why=why),
        TuneRow(format="Q8_0", bytes=size, perplexity=after, chosen=good, why=why),
    )
    write_note(header.path, key, header.fingerprint, rows, kept)
    return kept or header.path


def _estimate(header: GgufHeader, name: str) -> int:
    """About the bytes that a model takes in a format."""
    return int(header.parameters * FORMATS[name][1] / 8) + max(0, header.file_bytes - header.tensor_bytes)


def check_disk(needed: int, path: Path) -> None:
    """Make the folder of tuned models and see that there is room in it.

    Raises:
        StorageError: There is not, or it can't be made.
    """
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise StorageError(
            f"The folder {str(place)!r} can't be used: {error.strerror or error}.",
            hint="Set LLMOS_HOME to another one.",
        ) from error
    if free < needed:
        raise StorageError(
            f"Tuning {path.name!r} needs {gigabytes(needed)} of disk; {gigabytes(free)} are free in {str(place)!r}.",
            hint="Free some space, or set LLMOS_HOME to a folder on another disk.",
        )


@contextmanager
def scratch() -> Generator[Path]:
    """A folder beside the results, so that the winner can be renamed into place; gone afterwards, whatever happens."""
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"race-{os.getpid()}-", dir=folder(), ignore_cleanup_errors=True) as name:
        yield Path(name)


def _sweep() -> None:
    """Remove what races left that were killed."""
    for place in folder().glob("race-*"):
        match = re.match(r"race-(\d+)-", place.name)
        if match and not _is_alive(int(match[1])):
            shutil.rmtree(place, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _move(file: Path, target: Path) -> None:
    try:
        os.replace(file, target)
    except OSError as error:
        raise StorageError(
            f"{str(target)!r} can't be written: {error.strerror or error}.", hint="Check the folder's rights."
        ) from error


def _drop_others(path: Path, key: str, kept: Path | None) -> None:
    for name in FORMATS:
        other = model_path(path, key, name)
        if other != kept:
            with suppress(OSError):
                other.unlink()
