"""User space: programs that use the processor to get tasks done.

They act by system calls alone and know neither the engine nor the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmos.kernel.entry import AgentCode


def built_in() -> Mapping[str, AgentCode]:
    """The agents that come with llmos, by name."""
    from llmos.agents.assistant import assistant
    from llmos.agents.chat import chat
    from llmos.agents.manager import manager
    from llmos.agents.router import router
    from llmos.agents.workers.analyst import analyst
    from llmos.agents.workers.coder import coder
    from llmos.agents.workers.operator import operator
    from llmos.agents.workers.researcher import researcher

    workers = {one.name: one for one in (analyst, coder, operator, researcher)}
    return {"assistant": assistant, "chat": chat, "manager": manager, "router": router, **workers}
