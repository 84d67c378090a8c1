"""Settings and the places where llmos keeps things.

A setting comes from the first of these that names it: a flag, the environment, the settings file, the default. Knows no
engine: what a model name means is decided where the model is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from llmos.errors import ConfigError, StorageError
from llmos.messages import Sampling

KvType = Literal["f16", "q8_0"]
Autonomy = Literal["L0", "L1", "L2", "L3", "L4", "L5"]


def data_dir() -> Path:
    """Where conversations and settings live; `LLMOS_HOME/data` if `LLMOS_HOME` is set."""
    return _home("data") or _platform_dir("user_data_dir")


def cache_dir() -> Path:
    """Where what can be made again lives: tuned models, KV state; `LLMOS_HOME/cache` if `LLMOS_HOME` is set."""
    return _home("cache") or _platform_dir("user_cache_dir")


def config_path() -> Path:
    """The settings file, which need not exist; `LLMOS_HOME/config.toml` if `LLMOS_HOME` is set."""
    return _home("config.toml") or _platform_dir("user_config_dir") / "config.toml"


def _home(name: str) -> Path | None:
    home = os.environ.get("LLMOS_HOME")
    return Path(home) / name if home else None


def _platform_dir(function: Literal["user_data_dir", "user_cache_dir", "user_config_dir"]) -> Path:
    import platformdirs

    functions: dict[str, Callable[..., str]] = {
        "user_data_dir": platformdirs.user_data_dir,
        "user_cache_dir": platformdirs.user_cache_dir,
        "user_config_dir": platformdirs.user_config_dir,
    }
    return Path(functions[function]("llmos", appauthor=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine is opened. None leaves the choice to the automatic fit to this machine.

    Attributes:
        context: Tokens that one sequence may have.
        threads: Threads for the model's arithmetic.
        gpu_layers: Layers on the GPU; 0 keeps all on the CPU.
        kv_type: Number format of the KV cache; `q8_0` halves it.
        isolate: Run the engine in a child process, so that a crash of the native code costs a restart only.
        adapters: Name to path of LoRA adapters (GGUF) to have at hand.
        microcode: What makes the model good at the kernel's own jobs: `on` is what was chosen for the model
            (`llmos learn use`), `off` none; else the name of an adapter. With `adapters` at hand there is none: they
            were made for the model as it is.
        input_price: What a million tokens of prompts cost at a remote engine, in whatever currency; 0 is free.
        output_price: What a million generated tokens cost there.
    """

    context: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    kv_type: KvType | None = None
    isolate: bool = False
    adapters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType[str, str]({}))
    microcode: str = "on"
    input_price: float = 0.0
    output_price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedEngine:
    """An engine besides the kernel's own, on which agents may think: `[engines.NAME]` in the settings file.

    Attributes:
        model: As `Settings.model`.
        api_key: For a server: its key, better as a handle `secret://name`; empty takes the environment variable
            `LLMOS_API_KEY_NAME`.
        options: How it is opened. Engines on this machine run in a process of their own unless `isolate` says no: the
            threads of two in one process would hold each other up.
    """

    model: str | None = None
    api_key: str = field(default="", repr=False)
    options: EngineOptions = field(default_factory=lambda: EngineOptions(isolate=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOptions:
    """How long the contents of runs that are over are kept; never shorter than a day.

    Attributes:
        keep_days: Days after a run's end; 0 keeps them for ever.
        keep_bytes: Contents and files of all runs together: beyond it the oldest go first; 0 is no bound.
    """

    keep_days: int = 90
    keep_bytes: int = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOptions:
    """How memory is kept and used.

    Attributes:
        tenant: Whose memory it is; nothing of another tenant is ever seen.
        embedder: The model that compares texts by meaning: a name or a path; empty is the one that comes with llmos.
        profile_tokens: How much of what the user told stands in every context, about; 0 is nothing.
        reranker: A cross-encoder that looks at the best hits once more: a name or a path; empty is none.
        extract: Whether the model looks for facts in what the user says, when nothing else is to be done.
    """

    tenant: str = "me"
    embedder: str = ""
    profile_tokens: int = 200
    reranker: str = ""
    extract: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a kernel is started with.

    Attributes:
        model: A path, a name from the catalogue, `hf:…`, `ollama:…`, `https://host/v1#model`, `scripted:…`; None is the
            model that comes with llmos.
        system: The system prompt of new conversations; empty leaves it to the model's chat template.
        max_tokens: At most this many new tokens in one answer; None lets it run to the end of the context.
        tools: Whether the chat and `llmos run` use tools, or only talk.
        level: How far a run may go by itself, from L0 (suggest) to L5 (nobody to ask).
        search: The web search: the address of a SearXNG server, `brave` or `tavily`; empty is none.
        search_key: Its key, better as a handle `secret://name`; empty takes the secret of the search's name.
        sampling: How tokens are chosen.
        engine: How the engine is opened.
        runs: How long runs are kept.
        memory: Whose memory is used, and how.
        engines: Others besides it, by name.
    """

    model: str | None = None
    system: str = ""
    max_tokens: int | None = 2048
    tools: bool = True
    level: Autonomy = "L3"
    search: str = ""
    search_key: str = field(default="", repr=False)
    sampling: Sampling = field(default_factory=Sampling)
    engine: EngineOptions = field(default_factory=EngineOptions)
    runs: RunsOptions = field(default_factory=RunsOptions)
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    engines: Mapping[str, NamedEngine] = field(default_factory=lambda: MappingProxyType[str, NamedEngine]({}))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as a person writes it: its place in `Settings`, how a value is checked, and what is allowed."""

    part: Literal["", "sampling", "engine", "runs", "memory"]
    check: Callable[[object], Any]
    allowed: str


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _name(value: object) -> str | None:
    return _text(value).strip() or None


def _integer(low: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        number = int(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise ValueError
        return number

    return check


def _number(low: float, high: float) -> Callable[[object], float]:
    def check(value: object) -> float:
        number = float(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
            raise ValueError
        return float(number)

    return check


def _yes_no(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str):
        value = words.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError
    return value


def _one_of(*options: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in options:
            raise ValueError
        return str(value)

    return check


def _tenant(value: object) -> str:
    name = _text(value).strip()
    if not name or len(name) > 64 or not name.isprintable():
        raise ValueError
    return name


def _microcode(value: object) -> str:
    if isinstance(value, bool):  # TOML's true and false are meant
        return "on" if value else "off"
    name = _text(value).strip()
    if not re.fullmatch(r"[\w.-]{1,64}", name):
        raise ValueError
    return name.lower() if name.lower() in ("on", "off") else name


def _search(value: object) -> str:
    name = _text(value).strip()
    if name.startswith(("http://", "https://")):
        return name
    if name.lower() not in ("", "brave", "tavily"):
        raise ValueError
    return name.lower()


def _paths(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    table = cast("dict[object, object]", value)
    return MappingProxyType({_text(name): _text(path) for name, path in table.items()})


# The keys of the settings file; what stands before a dot is a table in it. `LLMOS_` and the key in capitals is its
# environment variable, with `_` for the dot.
SETTINGS: Mapping[str, Setting] = {
    "model": Setting("", _name, "a model name or path"),
    "system": Setting("", _text, "a text"),
    "max_tokens": Setting("", _integer(1), "a whole number from 1"),
    "tools": Setting("", _yes_no, "true or false"),
    "level": Setting("", _one_of(*get_args(Autonomy)), "L0, L1, L2, L3, L4 or L5"),
    "search": Setting("", _search, "the address of a SearXNG server, 'brave' or 'tavily'"),
    "search_key": Setting("", _text, "a text, such as secret://brave"),
    "temperature": Setting("sampling", _number(0, 100), "a number from 0"),
    "top_k": Setting("sampling", _integer(0), "a whole number from 0"),
    "top_p": Setting("sampling", _number(0, 1), "a number from 0 to 1"),
    "min_p": Setting("sampling", _number(0, 1), "a number from 0 to 1"),
    "repeat_penalty": Setting("sampling", _number(0.01, 100), "a number above 0; 1 is off"),
    "seed": Setting("sampling", _integer(0), "a whole number from 0"),
    "context": Setting("engine", _integer(1), "a whole number of tokens from 1"),
    "threads": Setting("engine", _integer(1), "a whole number from 1"),
    "gpu_layers": Setting("engine", _integer(0), "a whole number from 0"),
    "kv_type": Setting("engine", _one_of(*get_args(KvType)), "'f16' or 'q8_0'"),
    "isolate": Setting("engine", _yes_no, "true or false"),
    "adapters": Setting("engine", _paths, "a table of names and paths"),
    "microcode": Setting("engine", _microcode, "'on', 'off' or the name of an adapter"),
    "input_price": Setting("engine", _number(0, 1e9), "a number from 0"),
    "output_price": Setting("engine", _number(0, 1e9), "a number from 0"),
    "runs.keep_days": Setting("runs", _integer(0), "a whole number of days; 0 is for ever"),
    "runs.keep_bytes": Setting("runs", _integer(0), "a whole number of bytes; 0 is no bound"),
    "memory.tenant": Setting("memory", _tenant, "a name of 1 to 64 characters"),
    "memory.embedder": Setting("memory", _text, "a model name or path"),
    "memory.profile_tokens": Setting("memory", _integer(0), "a whole number from 0"),
    "memory.reranker": Setting("memory", _text, "a model name or path"),
    "memory.extract": Setting("memory", _yes_no, "true or false"),
}

# Of an engine in [engines.NAME]
_ENGINE_KEYS: Mapping[str, Setting] = {
    "model": SETTINGS["model"],
    "api_key": Setting("", _text, "a text, such as secret://big"),
    **{key: setting for key, setting in SETTINGS.items() if setting.part == "engine"},
}


def load_settings(
    *, path: Path | None = None, environment: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """The settings that hold now: defaults, then the file, then the environment, then flags.

    Args:
        path: The settings file, by default `config_path()`. It need not exist.
        environment: By default the process's own.
        flags: Key to value; a None was not given.

    Raises:
        ConfigError: An unknown key, or a value of the wrong type or out of range.
        StorageError: The file is there but can't be read.
    """
    path = path or config_path()
    environment = os.environ if environment is None else environment
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    variables = {key: variable(key) for key in SETTINGS if key != "adapters"}
    from_environment = {key: environment[name] for key, name in variables.items() if environment.get(name)}
    table = dict(_read(path))
    engines = _engines(table.pop("engines", {}), str(path))
    settings = replace(Settings(), engines=engines)
    settings = _apply(settings, dict(_flat(table)), lambda key: f"{key!r} in {str(path)!r}")
    settings = _apply(settings, from_environment, lambda key: f"environment variable {variables[key]}")
    return _apply(settings, given, lambda key: f"option --{key.replace('_', '-')}")


def _engines(value: object, path: str) -> Mapping[str, NamedEngine]:
    """The engines in the settings file."""
    if not isinstance(value, dict):
        raise ConfigError(f"'engines' in {path!r} can't be used.", hint="An engine begins with [engines.NAME].")
    found: dict[str, NamedEngine] = {}
    for name, entry in cast("dict[str, object]", value).items():
        where = f"[engines.{name}] in {path!r}"
        if not re.fullmatch(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", name) or name == "main" or not isinstance(entry, dict):
            hint = "A name has small letters, digits, '-' and '_', and is not 'main'."
            raise ConfigError(f"{where} can't be used.", hint=hint)
        own: dict[str, Any] = {}
        options: dict[str, Any] = {"isolate": True}
        for key, given in cast("dict[str, object]", entry).items():
            setting = _ENGINE_KEYS.get(key)
            if setting is None:
                raise ConfigError(f"No such setting: {key!r} of {where}.", hint=f"Known: {', '.join(_ENGINE_KEYS)}.")
            try:
                (options if setting.part == "engine" else own)[key] = setting.check(given)
            except ValueError as error:
                problem = f"The value {given!r} for {key!r} of {where} can't be used."
                raise ConfigError(problem, hint=f"Allowed is {setting.allowed}.") from error
        found[name] = NamedEngine(**own, options=EngineOptions(**options))
    return MappingProxyType(found)


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return f"LLMOS_{key.upper().replace('.', '_')}"


def _flat(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """The keys of tables with the table's name and a dot before them."""
    for key, value in table.items():
        if isinstance(value, dict) and key not in SETTINGS:
            yield from ((f"{key}.{name}", entry) for name, entry in cast("dict[str, object]", value).items())
        else:
            yield key, value


def _read(path: Path) -> Mapping[str, object]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"The settings file {str(path)!r} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The settings file {str(path)!r} is not UTF-8 text.", hint="Save it as UTF-8.") from error
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = 'Texts stand in quotes, for example: model = "hf:owner/name".'
        raise ConfigError(f"The settings file {str(path)!r} is not valid TOML: {error}.", hint=hint) from error


def _apply(settings: Settings, values: Mapping[str, object], where: Callable[[str], str]) -> Settings:
    parts: dict[str, dict[str, Any]] = {"": {}, "sampling": {}, "engine": {}, "runs": {}, "memory": {}}
    for key, value in values.items():
        setting = SETTINGS.get(key)
        if setting is None:
            raise ConfigError(f"No such setting: {where(key)}.", hint=f"Known settings: {', '.join(SETTINGS)}.")
        try:
            parts[setting.part][key.rpartition(".")[2]] = setting.check(value)
        except ValueError as error:
            raise ConfigError(
                f"The value {value!r} for {where(key)} can't be used.", hint=f"Allowed is {setting.allowed}."
            ) from error
    return replace(
        settings,
        sampling=replace(settings.sampling, **parts["sampling"]),
        engine=replace(settings.engine, **parts["engine"]),
        runs=replace(settings.runs, **parts["runs"]),
        memory=replace(settings.memory, **parts["memory"]),
        **parts[""],
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file so that a crash leaves the old one or the new one, never a part. Only its owner can read it.

    Raises:
        StorageError: It can't be written: full disk, missing rights.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "w", encoding="utf-8", opener=_private) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        hint = "Make room or check the rights of its folder, or set LLMOS_HOME to another one."
        raise StorageError(f"{str(path)!r} can't be written: {error.strerror or error}.", hint=hint) from error
