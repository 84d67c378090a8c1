"""The plainest agent: one answer, without tools."""

from __future__ import annotations

from llmos.kernel.process import Process


async def chat(process: Process, prompt: str) -> str:
    """Answer a prompt from the context alone."""
    return (await process.think(prompt)).text
