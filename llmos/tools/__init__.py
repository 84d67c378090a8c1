"""The peripherals: what an agent can do in the world, and how a function becomes a tool.

Whether a call is allowed is not decided here: that is `llmos.kernel`.
"""

from __future__ import annotations

from llmos.tools.output import Output
from llmos.tools.registry import load_tools
from llmos.tools.tool import Failed, Retry, RunContext, Tool, tool

__all__ = ["Failed", "Output", "Retry", "RunContext", "Tool", "load_tools", "tool"]
