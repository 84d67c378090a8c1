"""The engine on llama.cpp: `LlamaEngine` and its options. Importing it loads llama.cpp."""

from llmos.engine.llama.engine import LlamaEngine as LlamaEngine
from llmos.engine.llama.engine import LlamaOptions as LlamaOptions
