"""Token ids from servers that give them. Knows the paths and fields of llama-server and vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from llmos.engine.remote.convert import Json, messages, tools
from llmos.engine.remote.faults import garbage
from llmos.engine.remote.server import Server
from llmos.engine.remote.transport import Transport
from llmos.errors import Unsupported
from llmos.messages import Context


async def tokenize(text: str, server: Server, transport: Transport, *, special: bool) -> tuple[int, ...]:
    """The ids of a text, by llama-server."""
    _need_ids(server)
    return await _llama_server_ids(text, transport, special=special, start=False)


async def detokenize(ids: Sequence[int], server: Server, transport: Transport) -> bytes:
    """The bytes of ids, by llama-server, whose answer has U+FFFD where bytes are no whole character."""
    _need_ids(server)
    answer = await call(transport, "/detokenize", {"tokens": list(ids)})
    content = answer.get("content")
    if not isinstance(content, str):
        raise garbage(transport.address, "with no text for token ids", str(answer))
    if "\ufffd" in content:
        raise Unsupported(
            f"The server at {server.base!r} can't tell the bytes of these {len(ids)} tokens: they are not whole "
            "characters.",
            hint="Detokenize them together with their neighbours.",
        )
    return content.encode()


async def prompt_ids(context: Context, server: Server, transport: Transport) -> tuple[int, ...]:
    """The ids of a context as the server would read it, up to where the answer begins."""
    if server.kind == "llama-server":
        text = context.text
        if text is None:
            body: Json = {"messages": messages(context.messages)}
            body |= {"tools": tools(context.tools)} if context.tools else {}
            prompt = (await call(transport, "/apply-template", body)).get("prompt")
            if not isinstance(prompt, str):
                raise garbage(transport.address, "with no prompt for messages")
            text = prompt
        return await _llama_server_ids(text, transport, special=True, start=True)
    if context.text is not None:
        body = {"model": server.model, "prompt": context.text}
    else:
        body = {"model": server.model, "messages": messages(context.messages), "add_generation_prompt": True}
        body |= {"tools": tools(context.tools)} if context.tools else {}
    return id_list(await call(transport, "/tokenize", body), transport)


async def choice_ids(text: str, server: Server, transport: Transport) -> tuple[int, ...]:
    """The ids of a text in the middle of another."""
    if server.kind == "llama-server":
        return await _llama_server_ids(text, transport, special=False, start=False)
    body: Json = {"model": server.model, "prompt": text, "add_special_tokens": False}
    return id_list(await call(transport, "/tokenize", body), transport)


async def call(transport: Transport, path: str, body: Json) -> Json:
    """Post to one of the server's own paths; the answer is a table."""
    answer = await transport.call("POST", transport.address.root + path, body)
    if not isinstance(answer, dict):
        raise garbage(transport.address, f"something else than a table at {path!r}", str(answer)[:200])
    return cast("Json", answer)


def id_list(answer: Json, transport: Transport) -> tuple[int, ...]:
    """The field `tokens` of an answer."""
    ids: object = answer.get("tokens")
    if not isinstance(ids, list):
        raise garbage(transport.address, "with no token ids", str(answer)[:200])
    numbers = [item for item in cast("list[object]", ids) if isinstance(item, int) and not isinstance(item, bool)]
    if len(numbers) != len(cast("list[object]", ids)):
        raise garbage(transport.address, "with token ids that are no numbers", str(answer)[:200])
    return tuple(numbers)


async def _llama_server_ids(text: str, transport: Transport, *, special: bool, start: bool) -> tuple[int, ...]:
    body: Json = {"content": text, "add_special": start, "parse_special": special}
    return id_list(await call(transport, "/tokenize", body), transport)


def _need_ids(server: Server) -> None:
    if not server.gives_ids:
        raise Unsupported(
            f"The server at {server.base!r} gives no token ids.", hint="llama-server does, and so does a local model."
        )
