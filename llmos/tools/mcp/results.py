"""What a server answered, as a tool's output: texts as they are, everything else named for what it is.

Knows no tool.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmos.tools.mcp.schema import brief
from llmos.tools.output import Output

if TYPE_CHECKING:
    from mcp_types import BlobResourceContents, CallToolResult, ContentBlock, TextResourceContents


def as_output(answer: CallToolResult) -> Output:
    """An answer as text for the model, and its structured part as the value. Always from outside."""
    text = "\n".join(filter(None, map(_block, answer.content)))
    value: Any = answer.structured_content
    if not text:
        text = "Done, without a result." if value is None else json.dumps(value, ensure_ascii=False)
    return Output(text, value, "outside", failed=answer.is_error)


def _block(block: ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            kind, size = brief(block.mime_type, 60), _bytes(block.data)
            return f"[{block.type}, {kind}, {size:,} bytes: it can't be shown here]"
        case "resource_link":
            title = brief(block.title or block.name, 120)
            return f"[link to {title}: {brief(str(block.uri), 500)}]"
        case "resource":
            return _resource(block.resource)


def _resource(resource: TextResourceContents | BlobResourceContents) -> str:
    uri = brief(str(resource.uri), 500)
    text: object = getattr(resource, "text", None)
    if isinstance(text, str):
        return f"[{uri}]\n{text}"
    kind = brief(resource.mime_type or "unknown kind", 60)
    return f"[{uri}, {kind}, {_bytes(str(getattr(resource, 'blob', ''))):,} bytes: it can't be shown here]"


def _bytes(base64: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(base64.rstrip("=")) * 3 // 4
