"""The commands for memory: what each is called and takes, and nothing of what it does.

Imports what a command needs when it runs, as `llmos.shell.cli` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmos.shell.cli_runs import AsJson

if TYPE_CHECKING:
    from llmos.memory.map_layout import By

app = typer.Typer(
    name="memory",
    help="What llmos remembers: documents, what you told it; add, search, forget.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Whose memory; by default yours.")]
Namespace = Annotated[str, typer.Option("--namespace", metavar="NAME", help="The part of it, such as a project's.")]
Within = Annotated[str | None, typer.Option("--namespace", metavar="NAME", help="Only in this part of it.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="Only passage, episode, fact, preference or skill; more than once."),
]
Sources = Annotated[
    list[str] | None, typer.Option("--source", metavar="PATH|URL", help="Only from this file, folder or address.")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave out such names in folders, as *.log; more than once.")
]
Since = Annotated[str | None, typer.Option(metavar="WHEN", help="Written down since then: 2026-11-21, or 30d ago.")]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Written down before then.")]
Places = Annotated[list[str], typer.Argument(metavar="PATH|URL…", help="Files, folders, addresses of pages.")]


@app.command(epilog="Example:  llmos memory add docs/ README.md https://example.com/manual")
def add(
    places: Places,
    tenant: Tenant = None,
    namespace: Namespace = "",
    exclude: Exclude = None,
    as_json: AsJson = False,
) -> None:
    """Add files, folders with all below them, and pages from the web.

    What is there already is not read again, a changed file changes only what changed in it, and one that is gone goes.
    Stopped with Ctrl-C it goes on there the next time. What can't be read is listed at the end: exit code 1.
    """
    from llmos.shell import adding

    raise typer.Exit(adding.add(places, tenant, namespace=namespace, exclude=exclude or (), as_json=as_json))


@app.command(epilog="Example:  llmos memory watch notes/")
def watch(
    places: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files and folders.")],
    tenant: Tenant = None,
    namespace: Namespace = "",
    exclude: Exclude = None,
    as_json: AsJson = False,
) -> None:
    """Add files and folders, and follow their changes until Ctrl-C."""
    from llmos.shell import adding

    raise typer.Exit(adding.watch(places, tenant, namespace=namespace, exclude=exclude or (), as_json=as_json))


@app.command(epilog='Example:  llmos memory search "when does the lease end" --limit 3')
def search(
    query: Annotated[list[str], typer.Argument(metavar="QUERY", help="In words, of any language the model knows.")],
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="So many at most.")] = 5,
    kind: Kinds = None,
    source: Sources = None,
    namespace: Within = None,
    as_json: AsJson = False,
) -> None:
    """Find what fits a query, best first; exit code 1 if nothing relevant is there."""
    from llmos.shell import memories

    chosen = memories.Chosen(kinds=kind, sources=source, namespace=namespace)
    raise typer.Exit(memories.search(" ".join(query), chosen, tenant, limit=limit, as_json=as_json))


@app.command("list", epilog="Example:  llmos memory list --kind preference")
def list_(
    tenant: Tenant = None,
    kind: Kinds = None,
    source: Sources = None,
    namespace: Within = None,
    items: Annotated[bool, typer.Option("--items", help="Every item with its number.")] = False,
    history: Annotated[bool, typer.Option("--history", help="With items: what was superseded, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the sources there are, and what you told; with --items, --kind or --source every item."""
    from llmos.shell import memories

    chosen = memories.Chosen(kinds=kind, sources=source, namespace=namespace, history=history)
    memories.show_list(chosen, tenant, items=items, as_json=as_json)


@app.command(epilog="Example:  llmos memory show 17")
def show(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER…", help="As search and list show them.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show items whole: text, source, when, and what took their place."""
    from llmos.shell import memories

    raise typer.Exit(memories.show(numbers, tenant, as_json=as_json))


@app.command(epilog="Example:  llmos memory pin 17")
def pin(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER…", help="Facts and preferences, as list shows them.")],
    tenant: Tenant = None,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
) -> None:
    """Have what you told in every context, before all else that is known of you."""
    from llmos.shell import memories

    raise typer.Exit(memories.pin(numbers, tenant, off=off))


@app.command(epilog="Example:  llmos memory forget --source notes/lease.pdf")
def forget(
    query: Annotated[list[str] | None, typer.Argument(metavar="QUERY", help="What it is about.")] = None,
    tenant: Tenant = None,
    source: Sources = None,
    since: Since = None,
    until: Until = None,
    number: Annotated[list[int] | None, typer.Option("--item", metavar="NUMBER", help="This item.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is remembered of this tenant.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget: shows what will go and asks. Then no byte of it is left in any file that llmos keeps.

    Runs that used it lose their contents, saved chats the messages that have it. Exit code 1 if it was not done, or
    something is left.
    """
    from llmos.shell import forgets

    what = forgets.What(" ".join(query or ()), tuple(source or ()), since, until, tuple(number or ()))
    if what.empty != everything:
        raise typer.BadParameter("say what: words, --source, --since, --until, --item, or --all alone")
    raise typer.Exit(forgets.forget(what, tenant, yes=yes, as_json=as_json))


@app.command(epilog="Example:  llmos memory stats --json")
def stats(tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Say how much there is, of what kind, and which model compares it."""
    from llmos.shell import memories

    memories.stats(tenant, as_json=as_json)


@app.command(epilog="Example:  llmos memory export memory.jsonl")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines; - is stdout.")],
    tenant: Tenant = None,
) -> None:
    """Write all of it into one readable file."""
    from llmos.shell import memories

    memories.export(file, tenant)


@app.command("import", epilog="Example:  llmos memory import memory.jsonl")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As `llmos memory export` writes it.")],
    tenant: Tenant = None,
) -> None:
    """Take over what was exported; what is there already is not added again."""
    from llmos.shell import memories

    memories.load(file, tenant)


@app.command("map", epilog='Example:  llmos memory map memory.html --query "the garden" --like "king - man + woman"')
def map_(
    file: Annotated[Path, typer.Argument(metavar="FILE.html", help="The page; a picture goes beside it.")] = Path(
        "memory-map.html"
    ),
    tenant: Tenant = None,
    query: Annotated[str, typer.Option(metavar="TEXT", help="Show its nearest neighbours.")] = "",
    like: Annotated[str, typer.Option(metavar="A - B + C", help="The same of a sum of words.")] = "",
    by: Annotated[str, typer.Option(metavar="WHAT", help="What colours the points: source or kind.")] = "source",
    as_json: AsJson = False,
) -> None:
    """Draw what is remembered: a page and a picture, near together what is alike in meaning."""
    from llmos.shell import memories

    if by not in ("source", "kind"):
        raise typer.BadParameter("it is source or kind", param_hint="--by")
    colours: By = "kind" if by == "kind" else "source"
    memories.draw(file, tenant, query=query, like=like, by=colours, as_json=as_json)
