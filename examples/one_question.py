"""One question to the local model, and what the answer cost."""

import asyncio

from llmos import Kernel


async def main(kernel: Kernel) -> str:
    """The example itself."""
    answer = await kernel.run("What is the capital of Italy?")
    print(answer.text)
    print(f"confidence {answer.confidence}, {answer.usage.generated_tokens} tokens")
    return answer.text


if __name__ == "__main__":
    with Kernel() as local:
        asyncio.run(main(local))
