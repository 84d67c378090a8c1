"""The processor: engines behind `llmos.kernel.protocols.Engine`, the model store, and what decides how a model is run.

`open_engine` is the one door: it knows what a model name means and imports only the engine that it opens. Nothing here
knows agents, tools or memory.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.config import EngineOptions, cache_dir
from llmos.errors import ConfigError
from llmos.kernel.protocols import Engine

if TYPE_CHECKING:
    from llmos.engine.store import ModelFile

_API_KEY = "LLMOS_API_KEY"


async def open_engine(spec: str | None, options: EngineOptions | None = None, *, api_key: str | None = None) -> Engine:
    """Open the engine of a model name.

    Args:
        spec: None, "" or `default`: the model chosen by `llmos model use`, else the embedded one, which is requantized
            for this processor on first use. `http(s)://host/v1#model`: a server that speaks the OpenAI protocol; its
            key is in the environment variable `LLMOS_API_KEY`. `scripted:…`: no model (`llmos.engine.script_file`).
            All else is a model of the store (`llmos.engine.store.spec`): a path, a catalogue name, `hf:owner/repo`,
            `ollama:name`.
        api_key: The server's key; empty for none, None for that of the environment.

    Raises:
        ModelNotFound, ModelInvalid, OutOfMemory, ConfigError, RealModelForbidden: It can't be opened; see the hint.
    """
    options = options or EngineOptions()
    spec = (spec or "").strip()
    if spec.startswith("scripted:"):
        from llmos.engine.script_file import open_scripted

        return await open_scripted(spec, context=options.context)
    if spec.startswith(("http://", "https://")):
        return _open_remote(spec, options, os.environ.get(_API_KEY) if api_key is None else api_key or None)
    from llmos.engine.store import current, resolve

    return await _open_llama(resolve(spec or current(), tuned=False), options)


def _open_remote(spec: str, options: EngineOptions, api_key: str | None) -> Engine:
    from llmos.engine.remote import RemoteEngine

    address, _, model = spec.partition("#")
    if not model:
        raise ConfigError(f"The address {spec!r} names no model.", hint="Write it as http://host:8080/v1#model-name.")
    return RemoteEngine(
        address,
        model,
        api_key=api_key,
        input_price=options.input_price,
        output_price=options.output_price,
    )


async def _open_llama(model: ModelFile, options: EngineOptions) -> Engine:
    remarks: dict[str, str] = {}
    path = await _prepared(model, options, remarks)
    chosen: dict[str, Any] = {
        "context": options.context,
        "threads": options.threads,
        "gpu_layers": options.gpu_layers,
        "kv_type": options.kv_type,
        "swap_folder": cache_dir() / "kv",
        "adapters": {name: Path(file) for name, file in options.adapters.items()},
        "name": model.name,
        "remarks": remarks,
    }
    if options.isolate:
        from llmos.engine.isolate import IsolatedEngine

        texts = {**chosen, "swap_folder": str(chosen["swap_folder"]), "adapters": dict(options.adapters)}
        return await IsolatedEngine.start("llama", {"path": str(path), "options": texts})
    from llmos.engine.llama import LlamaEngine, LlamaOptions

    return await LlamaEngine.load(path, LlamaOptions(**chosen))


async def _prepared(model: ModelFile, options: EngineOptions, remarks: dict[str, str]) -> Path:
    """The file to run: with the model's microcode in it, or else in the form that is fastest here; made in seconds on
    first use, as is the choice of how attention is computed.

    Args:
        remarks: Gets why microcode that was wanted is not used.
    """
    from llmos.engine.store import attention

    stop = threading.Event()
    try:
        path = await _with_microcode(model, options, stop, remarks) or await _fastest(model, stop)
        await asyncio.to_thread(attention.decide, stop=stop)
        return path
    finally:
        stop.set()


async def _with_microcode(
    model: ModelFile, options: EngineOptions, stop: threading.Event, remarks: dict[str, str]
) -> Path | None:
    from llmos.engine.store import microcode

    def tell(why: str) -> None:
        remarks["microcode"] = f"off: {why}"

    if not options.adapters:
        return await asyncio.to_thread(microcode.merged, model.path, setting=options.microcode, stop=stop, tell=tell)
    if await asyncio.to_thread(microcode.is_wanted, model.path, setting=options.microcode):
        tell("adapters are given, which were made for the model without it.")
    return None


async def _fastest(model: ModelFile, stop: threading.Event) -> Path:
    from llmos.engine.store.tune import quick_default, tuned_path

    if model.source == "builtin":
        return await asyncio.to_thread(quick_default, model.path, stop=stop)
    return await asyncio.to_thread(tuned_path, model.path) or model.path
