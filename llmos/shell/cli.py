"""The command line: what each command and option is called, and nothing of what it does.

Imported only for arguments: without any, `llmos.__main__` goes straight to the chat. A command imports what it needs
when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmos.shell import (
    cli_agents,
    cli_browse,
    cli_learn,
    cli_mcp,
    cli_memory,
    cli_route,
    cli_runs,
    cli_secrets,
    cli_skills,
)
from llmos.shell.cli_runs import AsJson, Model, Tools, Unsafe

if TYPE_CHECKING:
    from llmos.config import Settings
    from llmos.messages import Constraint

_UsageError: Any = typer.BadParameter.__bases__[0]  # typer gives it no public name

app = typer.Typer(
    name="llmos",
    help="An operating system for language-model agents. Without a command: a chat.",
    epilog='Examples:  llmos  |  llmos run "Why is the sky blue?"  |  llmos --model ./qwen.gguf  |  llmos model list',
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ContextSize = Annotated[
    int | None, typer.Option("--context", metavar="TOKENS", help="Size of the context; by default what fits.")
]
Isolate = Annotated[
    bool | None, typer.Option("--isolate", help="Run the model in a process of its own: a crash costs a restart only.")
]


@app.callback()
def main(
    context: typer.Context,
    model: Model = None,
    context_size: ContextSize = None,
    isolate: Isolate = None,
    resume: Annotated[bool, typer.Option("--resume", help="List the saved conversations to go on with one.")] = False,
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last conversation.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """What holds for all commands; without one, the chat."""
    if version:
        from llmos import __version__

        print(f"llmos {__version__}")
        raise typer.Exit
    context.obj = {"model": model, "context": context_size, "isolate": isolate}
    if context.invoked_subcommand is None:
        from llmos.shell.start import has_terminal, start_chat

        if go_on and not has_terminal():
            _need_a_conversation()
        first = "/resume 1" if go_on else "/resume" if resume else ""
        raise typer.Exit(start_chat(settings_of(context), first=first))
    if go_on or resume:
        option = "--continue" if go_on else "--resume"
        raise typer.BadParameter(f"only the chat goes on, not {context.invoked_subcommand!r}", param_hint=option)


def _need_a_conversation() -> None:
    """See that there is one to go on with: without a terminal nobody would notice that the answers know nothing of it.

    Raises:
        StorageError: Those that there are can't be read.
    """
    from llmos.shell import conversations

    good, bad = conversations.recent(1)
    if bad and not good:
        raise bad[0]
    if not good:
        raise typer.BadParameter("no conversation is saved yet", param_hint="--continue")


def settings_of(context: typer.Context, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings under the options before the command and those after it, which go first."""
    from llmos.config import load_settings

    before: Mapping[str, object] = context.obj
    return load_settings(flags={**before, **{key: value for key, value in (flags or {}).items() if value is not None}})


@app.command(epilog='Example:  llmos run "Which planet is the biggest?" --choices Mars,Jupiter --json')
def run(
    context: typer.Context,
    prompt: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROMPT", help="The question; @file attaches a file, what is piped in comes below."),
    ] = None,
    model: Model = None,
    context_size: ContextSize = None,
    isolate: Isolate = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="The system prompt.")] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N new tokens.")] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", min=0.0, help="0 takes the likeliest token.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", min=0, help="The same seed gives the same answer.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="The likeliest token, always: --temperature 0.")] = False,
    beams: Annotated[int, typer.Option(metavar="N", min=1, help="Beam search with N hypotheses.")] = 1,
    best_of: Annotated[int, typer.Option(metavar="N", min=1, help="Sample N answers and give the likeliest.")] = 1,
    schema: Annotated[Path | None, typer.Option(metavar="FILE", help="The answer is JSON of this JSON schema.")] = None,
    regex: Annotated[str | None, typer.Option(metavar="PATTERN", help="The whole answer matches this.")] = None,
    choices: Annotated[str | None, typer.Option(metavar="A,B,…", help="The answer is one of these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write events as JSON lines.")] = False,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Who does it; by default the assistant.")] = None,
    tools: Tools = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Only talk: one answer of the model.")] = False,
    level: Annotated[str | None, typer.Option(metavar="L0…L5", help="How far it may go by itself; L3.")] = None,
    workspace: Annotated[
        Path | None, typer.Option(metavar="FOLDER", exists=True, file_okay=False, help="Where it works; here.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="NAME=N,…", help="Bounds: tokens, steps, seconds, calls, questions, …")
    ] = None,
    unsafe: Unsafe = False,
) -> None:
    """Do what is asked, with tools: the answer on stdout, everything else on stderr.

    With --no-tools, or where the form of the answer is fixed (--schema, --regex, --choices, --beams, --best-of), it is
    one answer of the model. Exit codes: 0 done, 1 failed or something was denied, 2 wrong usage, 130 interrupted.
    """
    constraint = _constraint(schema, regex, choices)
    _check_sampling(beams, best_of, temperature, greedy=greedy)
    plain = no_tools or constraint is not None or beams > 1 or best_of > 1
    working = {"--agent": agent, "--tools": tools, "--level": level, "--workspace": workspace, "--budget": budget}
    if plain and (wrong := [name for name, value in working.items() if value is not None]):
        raise typer.BadParameter("that is one answer of the model, without tools", param_hint=wrong[0])
    names, bounds = cli_runs.names(tools), cli_runs.budget_of(budget)
    from llmos.shell.oneshot import Task, attached, piped, run_once
    from llmos.shell.text import joined

    words, material = " ".join(prompt or ()), piped()
    files = attached(words)
    if not words.strip() and not material.strip():
        raise typer.BadParameter("a question is missing, as an argument or piped in", param_hint="PROMPT")
    flags = {
        "model": model,
        "context": context_size,
        "isolate": isolate,
        "system": system,
        "max_tokens": max_tokens,
        "temperature": 0.0 if greedy else temperature,
        "seed": seed,
        "level": cli_runs.level_of(level),
    }
    settings = settings_of(context, flags)
    if plain or not (settings.tools or agent or tools):
        whole = joined(files.text, material)
        task = Task(prompt=whole, json=as_json, constraint=constraint, beams=beams, best_of=best_of)
        raise typer.Exit(run_once(task, settings))
    from llmos.shell.working import Job, run_job

    job = Job(
        prompt=words,
        material=material,
        attached=files.material,
        agent=agent or "",
        tools=names,
        workspace=workspace,
        budget=bounds,
        unsafe=unsafe,
        json=as_json,
    )
    raise typer.Exit(run_job(job, settings))


def _check_sampling(beams: int, best_of: int, temperature: float | None, *, greedy: bool) -> None:
    if beams > 1 and best_of > 1:
        raise typer.BadParameter("give either --beams or --best-of")
    if greedy and temperature:
        raise typer.BadParameter("give either --greedy or --temperature")
    if greedy and best_of > 1:
        raise typer.BadParameter("give either --greedy or --best-of: greedy answers are all the same")


def _constraint(schema: Path | None, regex: str | None, choices: str | None) -> Constraint | None:
    from llmos.messages import Choices, JsonSchema, Regex

    if sum(option is not None for option in (schema, regex, choices)) > 1:
        raise typer.BadParameter("give one of --schema, --regex and --choices")
    if schema is not None:
        return JsonSchema(_read_schema(schema))
    if regex is not None:
        return Regex(regex)
    if choices is not None:
        options = tuple(dict.fromkeys(option.strip() for option in choices.split(",") if option.strip()))
        if not options:
            raise typer.BadParameter("no choice is given", param_hint="--choices")
        return Choices(options)
    return None


def _read_schema(path: Path) -> Mapping[str, Any]:
    import json

    try:
        schema: object = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{str(path)!r} can't be read: {error.strerror}", param_hint="--schema") from error
    except ValueError as error:
        raise typer.BadParameter(f"{str(path)!r} is not JSON: {error}", param_hint="--schema") from error
    if not isinstance(schema, dict):
        raise typer.BadParameter(f"{str(path)!r} does not hold an object", param_hint="--schema")
    return schema  # pyright: ignore[reportUnknownVariableType] - JSON: the engine checks what is inside


@app.command(epilog='Example:  llmos tokens "naïve 🙂"')
def tokens(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The text; by default what is piped in.")] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Show the tokens of a text: ids, bytes, pieces, and how many."""
    import asyncio

    from llmos.shell.inspect import show_tokens

    asyncio.run(show_tokens(_text(text), settings_of(context, {"model": model}), as_json=as_json))


@app.command("next", epilog='Example:  llmos next "The mouse ate the" --top 5')
def next_(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The beginning; by default what is piped in.")
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many tokens to show.")] = 10,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Show how the model would go on: the likeliest next tokens as a bar chart."""
    import asyncio

    from llmos.shell.inspect import show_next

    asyncio.run(show_next(_text(text), settings_of(context, {"model": model}), top=top, as_json=as_json))


def _text(given: str | None) -> str:
    from llmos.shell.oneshot import prompt_with_input

    text = given if given is not None else prompt_with_input("")
    if not text:
        raise typer.BadParameter("a text is missing, as an argument or piped in", param_hint="TEXT")
    return text


@app.command(epilog="Example:  llmos doctor --install-browser")
def doctor(
    as_json: AsJson = False,
    install_browser: Annotated[
        bool, typer.Option("--install-browser", help="First have Playwright download a Chromium, if none is here.")
    ] = False,
) -> None:
    """Explain what is here, what is missing and how to get it."""
    from llmos.shell.doctor import install_browser as install
    from llmos.shell.doctor import run as examine

    if install_browser:
        install()
    raise typer.Exit(examine(json=as_json))


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def model(context: typer.Context) -> None:
    """List, pull, show, choose, remove and tune models: see `llmos model -h`."""
    from llmos.shell.models import app as models

    raise typer.Exit(run_app(context.args or ["--help"], models, name="llmos model"))


cli_runs.add_to(app)
cli_route.add_to(app)
cli_browse.add_to(app)
cli_skills.add_to(app)
app.add_typer(cli_agents.app)
app.add_typer(cli_learn.app)
app.add_typer(cli_mcp.app)
app.add_typer(cli_memory.app)
app.add_typer(cli_secrets.app)


def run_app(arguments: list[str], commands: typer.Typer = app, *, name: str = "llmos") -> int:
    """Run a command line; wrong usage is explained on stderr.

    Returns:
        The exit code.

    Raises:
        LlmosError: What a command came to.
    """
    try:
        code: object = commands(args=arguments, prog_name=name, standalone_mode=False)
    except _UsageError as error:
        from llmos.shell.text import complaint

        context: typer.Context | None = error.ctx
        usage = f"{context.get_usage()}\n`{context.command_path} -h` explains it." if context is not None else ""
        print(complaint(error.format_message(), usage), file=sys.stderr)
        return 2
    except SystemExit as leave:  # the reader of stdout has left
        code = leave.code
    return code if isinstance(code, int) else 0
