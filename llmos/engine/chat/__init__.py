"""Chat formats: a model's own chat template, tool calls and reasoning, rendered and parsed.

Knows no engine. Importing it is cheap: Jinja is loaded when the first format is made.
"""

from __future__ import annotations

from llmos.engine.chat.stream import StreamParser
from llmos.engine.chat.template import ChatFormat
from llmos.engine.chat.tools import ToolFormat

__all__ = ["ChatFormat", "StreamParser", "ToolFormat"]
