"""A processor on another machine: any server that speaks the OpenAI protocol.

Knows llama-server, vLLM and Ollama by name and treats every other server by what it answers. Imports httpx, which takes
a quarter of a second: import this package only when a remote engine is opened.
"""

from llmos.engine.remote.engine import RemoteEngine
from llmos.engine.remote.server import ServerKind
from llmos.engine.remote.transport import Timeouts

__all__ = ["RemoteEngine", "ServerKind", "Timeouts"]
