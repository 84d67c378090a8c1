"""`llmos model …`: list, pull, show, use, rm and tune models.

Talks to the user and to `llmos.engine.store`; knows no engine. Answers go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from llmos.engine import store
from llmos.engine.gguf import GgufHeader
from llmos.engine.hardware import detect
from llmos.engine.store.catalogue import CATALOGUE, recommend_line
from llmos.engine.store.tune import TuneReport, tune

INTERRUPTED = 130
_PIPE_WIDTH = 240

app = typer.Typer(
    help="The models of this machine: list, pull, show, use, rm, tune.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Spec = Annotated[str, typer.Argument(metavar="MODEL", help="See `llmos model list` for names; also a path.")]
AnySpec = Annotated[str, typer.Argument(metavar="MODEL", help="The one in use, if none is given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the models that are here, and good ones to pull.

    Examples:

      llmos model list

      llmos model list --json
    """
    models = store.list_models()
    offered = _offered(models)
    if as_json:
        _print_json({"models": [asdict(model) for model in models], "catalogue": offered})
        return
    out = _console()
    out.print(_models_table(models))
    if offered:
        out.print(_catalogue_table(offered))
        out.print("Get one with `llmos model pull NAME`, then `llmos model use NAME`.", markup=False)
        out.print(recommend_line(detect()), markup=False, soft_wrap=True)


@app.command()
def pull(spec: Spec) -> None:
    """Get a model from Hugging Face; prints its path.

    It goes into the cache that other programs share. A pull that was cut goes on where it ended.

    Examples:

      llmos model pull Qwen/Qwen3-1.7B-GGUF

      llmos model pull Qwen/Qwen3-1.7B-GGUF:Q8_0

      llmos model pull hf:Qwen/Qwen3-1.7B-GGUF/Qwen3-1.7B-Q8_0.gguf
    """
    with _interruptible("What arrived is kept: the same command goes on from there."):
        with _progress(spec) as progress:
            model = store.pull(spec, progress=progress)
        _note(f"{model.name} is here. Use it with `llmos model use {model.spec}`.")
        print(model.path)


@app.command()
def show(spec: AnySpec = "", as_json: AsJson = False) -> None:
    """Show what a model's file says about it.

    Examples:

      llmos model show

      llmos model show ./model.gguf --json
    """
    from llmos.config import load_settings
    from llmos.engine.store import microcode

    setting = load_settings().engine.microcode
    header = store.show(spec or store.current(), setting=setting)
    state = microcode.state(store.resolve(spec or store.current(), tuned=False).path, setting=setting)
    if as_json:
        _print_json({**_header_facts(header), "microcode": state})
        return
    _console().print(_header_table(header, state))


@app.command()
def use(spec: Spec) -> None:
    """Choose the model that llmos runs from now on.

    Examples:

      llmos model use default

      llmos model use ./model.gguf

      llmos model use ollama:llama3.2
    """
    model = store.use(spec)
    _note(f"In use from now on: {model.name} ({model.spec}).")


@app.command()
def rm(spec: Spec) -> None:
    """Delete a pulled model, or the tuned form of one. Files of yours and of Ollama are never deleted.

    Examples:

      llmos model rm Qwen/Qwen3-1.7B-GGUF:Q8_0

      llmos model rm default
    """
    freed = store.remove(spec)
    _note(f"Deleted; {_size(freed)} became free.")


@app.command("tune")
def tune_(spec: AnySpec = "", as_json: AsJson = False) -> None:
    """Find the format in which a model runs fastest here, and use it.

    Makes other quantizations of the file, measures speed and perplexity of each, and keeps the fastest of those that
    are not worse. The original stays as it is. Takes minutes.

    Examples:

      llmos model tune

      llmos model tune ./model.gguf --json
    """
    with _interruptible("Nothing was changed."):
        model = store.resolve(spec or store.current(), tuned=False)
        with _steps(model.name) as progress:
            report = tune(model.path, progress=progress)
    if as_json:
        _print_json(asdict(report))
        return
    _console().print(_tune_table(report))
    _note(f"{model.name} runs as {report.chosen.format} from now on.")


@contextmanager
def _interruptible(left: str) -> Generator[None]:
    """Say at Ctrl-C what is left behind."""
    try:
        yield
    except KeyboardInterrupt as error:
        _note(f"Stopped. {left}")
        raise typer.Exit(INTERRUPTED) from error


@contextmanager
def _progress(spec: str) -> Generator[Callable[[int, int], None]]:
    """A bar in a terminal, a line at each tenth elsewhere."""
    if not sys.stderr.isatty():
        yield _tenths(spec)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(spec, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _steps(name: str) -> Generator[Callable[[str, float], None]]:
    """What is being done, with a bar in a terminal and a line each elsewhere."""
    if not sys.stderr.isatty():
        yield lambda step, share: _note(f"{name}: {step} ({share:.0%})")
        return
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda step, share: bar.update(task, completed=share, description=step)


def _tenths(spec: str) -> Callable[[int, int], None]:
    said = -1

    def progress(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total else 10
        if tenth > said:
            said = tenth
            _note(f"{spec}: {10 * tenth} % of {_size(total)}")

    return progress


def _console() -> Console:
    """For answers: as wide as the terminal, and wide enough for every name where there is none."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _size(bytes: int) -> str:
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.0f} MB"


def _models_table(models: Iterable[store.ListedModel]) -> Table:
    table = Table(title="Models here", title_justify="left", box=None, header_style="bold")
    for column in ("", "model", "from", "type", "size", "remarks"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for model in models:
        remark = model.problem or _form(model)
        cells = ("→" if model.in_use else "", model.spec, model.source, model.file_type, _size(model.bytes), remark)
        table.add_row(*map(Text, cells))
    return table


def _form(model: store.ListedModel) -> str:
    if model.merged:
        return "runs as Q8_0 with microcode"
    return f"tuned: runs as {model.tuned.stem.rsplit('.')[-1]}" if model.tuned else ""


def _offered(models: Iterable[store.ListedModel]) -> list[dict[str, Any]]:
    """The entries of the catalogue that are not here."""
    here = {model.spec for model in models}
    return [asdict(entry) for entry in CATALOGUE if f"hf:{entry.repo}/{entry.file}" not in here]


def _catalogue_table(offered: Iterable[dict[str, Any]]) -> Table:
    table = Table(title="Models to pull", title_justify="left", box=None, header_style="bold")
    for column in ("name", "size", "memory", "licence", "good for"):
        table.add_column(column, justify="right" if column in ("size", "memory") else "left", overflow="fold")
    for entry in offered:
        sizes = (_size(entry["bytes"]), _size(entry["memory_bytes"]))
        table.add_row(*map(Text, (entry["name"], *sizes, entry["license"], entry["good_for"])))
    return table


def _tune_table(report: TuneReport) -> Table:
    titles, rows = report.table()
    table = Table(box=None, header_style="bold")
    for title in titles:
        table.add_column(title, justify="left" if title in ("", "format") else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _header_table(header: GgufHeader, microcode: str) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _facts(header, microcode):
        table.add_row(Text(name), Text(value))
    return table


def _facts(header: GgufHeader, microcode: str) -> list[tuple[str, str]]:
    """What people ask about a model, in the order to show it; what the file does not say is left out."""
    template = header.chat_template
    facts = [
        ("name", header.name),
        ("file", str(header.path)),
        ("size", f"{_size(header.file_bytes)} in {max(1, len(header.parts))} file(s)"),
        ("architecture", header.architecture),
        ("parameters", f"{header.parameters / 1e6:,.0f} million"),
        ("type", header.file_type),
        ("microcode", microcode),
        ("context", f"{header.context_length:,} tokens" if header.context_length else ""),
        ("layers", f"{header.block_count}, width {header.embedding_length:,}" if header.block_count else ""),
        ("heads", f"{header.head_count}, {header.head_count_kv} for keys and values" if header.head_count else ""),
        ("KV cache", f"{header.kv_bytes_per_token() / 1024:,.0f} KiB per token (f16)"),
        ("vocabulary", f"{header.vocabulary:,} tokens ({header.tokenizer})" if header.vocabulary else ""),
        ("chat template", f"in the file, {len(template):,} characters" if template else "none: ChatML is used"),
        ("licence", str(header.metadata.get("general.license", ""))),
        ("fingerprint", header.fingerprint),
        ("remark", f"It {header.unsuitable}." if header.unsuitable else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _header_facts(header: GgufHeader) -> dict[str, Any]:
    names = [name for name in GgufHeader.__dataclass_fields__ if name not in ("metadata", "parts")]
    facts: dict[str, Any] = {name: getattr(header, name) for name in names}
    return facts | {
        "parts": [str(part) for part in header.parts],
        "fingerprint": header.fingerprint,
        "kv_bytes_per_token": header.kv_bytes_per_token(),
        "metadata": dict(header.metadata),
    }
