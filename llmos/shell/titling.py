"""What a conversation is called, and what came of it, in the words of a model that has microcode.

Made while nobody asks anything. A title that the user gave stays. Knows no terminal.
"""

from __future__ import annotations

from dataclasses import replace

from llmos.agents import jobs
from llmos.boot import Kernel
from llmos.messages import GREEDY, Context, Regex
from llmos.shell.conversations import Conversation, title_of

_MESSAGES = 12
_TITLE, _SUMMARY = 20, 80  # tokens
_ONE_LINE = Regex(r"[^\n]{2,400}")


async def headed(kernel: Kernel, conversation: Conversation) -> Conversation | None:
    """A conversation with a title, unless the user gave it one, and a summary; None where nothing is to be changed.

    Raises:
        LlmosError: The engine failed.
    """
    from llmos.agents.microcode import fitting  # slow, and not needed before there is a conversation

    spoken = [one for one in conversation.messages if one.role in ("user", "assistant") and one.content][-_MESSAGES:]
    if kernel.info is None or fitting(kernel.info) is None or len(spoken) < 2:
        return None
    first = next((one.content for one in conversation.messages if one.role == "user"), "")
    title = conversation.title
    if title == title_of(first):
        title = await _line(kernel, jobs.title(spoken), _TITLE) or title
    return replace(conversation, title=title, summary=await _line(kernel, jobs.summary(spoken), _SUMMARY))


async def _line(kernel: Kernel, form: Context, tokens: int) -> str:
    """What the model says in a form, on one line; empty where it was cut."""
    *before, last = form.messages
    answer = await kernel.run(
        last.content,
        context=Context(messages=tuple(before)),
        constraint=_ONE_LINE,
        sampling=GREEDY,
        max_tokens=tokens,
        priority="background",
    )
    return answer.text.strip() if answer.reason == "stop" else ""
