"""Finds tools: entry points of the group `llmos.tools`, one for each tool, named as the tool.

The built-in tools come in by the same door; a source checkout whose installed metadata are older finds them too. So do
the tools of MCP servers, which nothing is started for. Knows no tool by its code.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from llmos.errors import ConfigError
from llmos.events import Notice
from llmos.kernel.protocols import Device
from llmos.tools.output import describe
from llmos.tools.tool import Tool

GROUP = "llmos.tools"
OWN = "llmos.tools.builtin"
BROWSER = "llmos.tools.browser.devices"

# The same as [project.entry-points."llmos.tools"] in pyproject.toml, which a test compares.
BUILT_IN = {
    "ask_user": f"{OWN}.ask:ask_user",
    "browser_back": f"{BROWSER}:browser_back",
    "browser_click": f"{BROWSER}:browser_click",
    "browser_close": f"{BROWSER}:browser_close",
    "browser_commit": f"{BROWSER}:browser_commit",
    "browser_fill": f"{BROWSER}:browser_fill",
    "browser_fill_form": f"{BROWSER}:browser_fill_form",
    "browser_find": f"{BROWSER}:browser_find",
    "browser_goto": f"{BROWSER}:browser_goto",
    "browser_look": f"{BROWSER}:browser_look",
    "browser_open": f"{BROWSER}:browser_open",
    "browser_press": f"{BROWSER}:browser_press",
    "browser_scroll": f"{BROWSER}:browser_scroll",
    "browser_select": f"{BROWSER}:browser_select",
    "browser_tab": f"{BROWSER}:browser_tab",
    "browser_upload": f"{BROWSER}:browser_upload",
    "calculator": f"{OWN}.calculator:calculator",
    "calendar_add": f"{OWN}.calendar:calendar_add",
    "calendar_search": f"{OWN}.calendar:calendar_search",
    "chart": f"{OWN}.chart:chart",
    "compute": f"{OWN}.compute:compute",
    "date_add": f"{OWN}.dates:date_add",
    "date_between": f"{OWN}.dates:date_between",
    "datetime": f"{OWN}.dates:date_time",
    "edit_file": f"{OWN}.files:edit_file",
    "http_get": f"{OWN}.http:http_get",
    "http_request": f"{OWN}.http:http_request",
    "list_files": f"{OWN}.files:list_files",
    "python": f"{OWN}.code:python",
    "read_file": f"{OWN}.files:read_file",
    "search_files": f"{OWN}.files:search_files",
    "shell": f"{OWN}.code:shell",
    "todo": f"{OWN}.todo:todo",
    "web_search": f"{OWN}.web_search:web_search",
    "write_file": f"{OWN}.files:write_file",
}


def load_tools(
    names: Iterable[str] | None = None, *, notify: Callable[[Notice], None] = lambda notice: None
) -> dict[str, Device]:
    """The tools that are installed, and those of MCP servers as they were accepted, by name.

    Args:
        names: Only these; None for all.
        notify: Told of a plug-in or a server that can't be used; the others are.

    Raises:
        ConfigError: Two packages bring a tool of the same name, or one that was named is not there or broken.
    """
    found = _entries()
    tools = _remote(notify)
    if names is not None:
        return {name: tools[name] if name in tools else _load(_find(name, found, tools)) for name in names}
    for name, entry in sorted(found.items()):
        try:
            tools[name] = _load(entry)
        except ConfigError as error:
            notify(Notice(text=str(error)))
    return tools


async def close_tools(devices: Iterable[Device]) -> None:
    """Tell tools that want to know it (`async def kernel_closed()`) that the kernel of this loop is being closed."""
    for device in devices:
        told: Callable[[], Awaitable[None]] | None = getattr(device, "kernel_closed", None)
        if told is not None:
            await told()


def _remote(notify: Callable[[Notice], None]) -> dict[str, Device]:
    from llmos.tools.mcp.settings import is_present

    if not is_present():
        return {}
    from llmos.tools.mcp.device import load_devices

    return load_devices(lambda text: notify(Notice(text=text)))


def _find(name: str, found: dict[str, EntryPoint], others: Iterable[str]) -> EntryPoint:
    if name in found:
        return found[name]
    known = [*found, *others]
    close = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(sorted(known))}."
    raise ConfigError(f"There is no tool named {name!r}.", hint=hint)


def _entries() -> dict[str, EntryPoint]:
    """Every entry point by the tool's name.

    Raises:
        ConfigError: Two of a name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in _installed():
        other = found.get(entry.name)
        if other and other.value != entry.value:
            raise ConfigError(
                f"Two packages bring a tool named {entry.name!r}: {_origin(other)} and {_origin(entry)}.",
                hint="Uninstall one of them.",
            )
        found[entry.name] = entry
    return found


def _installed() -> Iterator[EntryPoint]:
    yield from (EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items())
    # entries of ours in metadata of another version of llmos: the table above is what this code has
    yield from (entry for entry in entry_points(group=GROUP) if not entry.value.startswith("llmos.tools."))


def _origin(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist else "llmos"
    return f"{package} ({entry.value})"


def _load(entry: EntryPoint) -> Device:
    """The device behind an entry point.

    Raises:
        ConfigError: It can't be imported, is no tool, or has another name.
    """
    try:
        loaded: object = entry.load()
        if not all(hasattr(loaded, name) for name in ("check", "show", "call", "done")):
            raise ConfigError(f"{entry.value!r} is a {type(loaded).__name__} and no tool.")
        device = cast("Device", loaded)
        # the schema of a tool of ours is made when it is needed; its types are looked at here
        own = isinstance(loaded, Tool) and device.traits
        name = cast("Tool[..., Any]", device).name if own else device.spec.name
        if name != entry.name:
            raise ConfigError(f"{entry.value!r} is named {name!r}.")
    except Exception as error:
        # code of a plug-in, which may fail in any way
        raise ConfigError(
            f"The tool {entry.name!r} of {_origin(entry)} could not be loaded: {describe(error)}",
            hint="Update or uninstall that package.",
        ) from error
    return device
