"""The model store: names what models there are here and elsewhere, and keeps none of them twice."""

from llmos.engine.store.library import ListedModel, current, list_models, pull, remove, resolve, show, use
from llmos.engine.store.spec import ModelFile

__all__ = ["ListedModel", "ModelFile", "current", "list_models", "pull", "remove", "resolve", "show", "use"]
