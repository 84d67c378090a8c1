"""The tool that puts a question to the user."""

from __future__ import annotations

from typing import Annotated

from annotated_types import MaxLen, MinLen

from llmos.kernel.protocols import Access
from llmos.tools.tool import tool


@tool(
    effect="reads",
    steers=(),
    returns="user",
    repeatable=True,
    seconds=24 * 3600,
    examples=(
        ("book a table for us", {"question": "For how many people, and when?"}),
        ("send it to Kim", {"question": "Which Kim do you mean?"}),
    ),
)
async def ask_user(access: Access, question: Annotated[str, "one short question", MinLen(1), MaxLen(300)]) -> str:
    """Ask the user when something needed is missing or unclear."""
    return await access.ask(question)
