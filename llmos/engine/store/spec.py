"""What a model is called: the forms of a spec, and what comes back for one.

    (nothing) or default             the embedded model
    ./model.gguf, ~/m/model.gguf     a file
    owner/repo                       Hugging Face, its usual quantization; also with hf: in front
    owner/repo:Q4_K_M                that quantization
    owner/repo/model-Q4_K_M.gguf     that file
    ollama:name or ollama:name:tag   a model that Ollama has pulled
    a name of the catalogue          see `llmos model list`

Knows the forms and touches no disk and no network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmos.errors import ModelNotFound

Source = Literal["builtin", "file", "hub", "ollama"]

DEFAULT = "default"
OLLAMA = "ollama:"
HUB = "hf:"
FORMS = "Give a path, owner/repo[:QUANT], owner/repo/FILE.gguf, ollama:NAME, or a name from `llmos model list`."

_PART = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_HUB_SPEC = re.compile(rf"(?:hf:)?(?P<repo>{_PART}/{_PART})(?:/(?P<file>.+)|:(?P<quant>[\w.]+))?", re.ASCII)
_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_USUAL = ("Q4_K_M", "Q8_0", "Q5_K_M", "Q6_K", "Q4_K_S", "Q4_0", "Q4_1", "MXFP4", "BF16", "F16", "F32")
"""Which quantization is meant where none is given: small without being noticeably worse first."""
_BESIDE = re.compile(r"(?i)(^|[-_.])(mmproj|imatrix|lora|adapter)([-_.]|$)")
"""Files that lie beside models and are none."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is here.

    Attributes:
        path: The GGUF file to load; of a split model the first part.
        name: For people.
        source: Where it comes from.
        spec: What names it again, from any folder.
    """

    path: Path
    name: str
    source: Source
    spec: str


@dataclass(frozen=True, slots=True)
class HubSpec:
    """A model at the hub: `file` or `quant`, or neither for the usual one."""

    repo: str
    file: str = ""
    quant: str = ""

    def __str__(self) -> str:
        return f"{HUB}{self.repo}" + (f"/{self.file}" if self.file else f":{self.quant}" if self.quant else "")

    def named(self, file: str) -> HubSpec:
        """The spec of one file of the same repository."""
        return HubSpec(self.repo, file)


def parse_hub(spec: str) -> HubSpec | None:
    """The hub's model that a spec names, None where it has another form.

    Raises:
        ModelNotFound: It begins like one and can't be one.
    """
    match = _HUB_SPEC.fullmatch(spec)
    if match:
        file = match["file"] or ""
        repo_is_odd = "--" in match["repo"] or ".." in match["repo"]
        if not repo_is_odd and (not file or (file.endswith(".gguf") and _is_inside(file))):
            return HubSpec(match["repo"], file, match["quant"] or "")
    if match or spec.startswith((HUB, "https://", "http://")):
        raise ModelNotFound(f"{spec!r} can't name a model at the hub.", hint=FORMS)
    return None


def _is_inside(file: str) -> bool:
    """Whether a name stays inside its folder on every system."""
    return "\\" not in file and ":" not in file and all(part not in ("", ".", "..") for part in file.split("/"))


def split_parts(file: str) -> tuple[str, ...]:
    """All files of the model that `file` belongs to: one, or those of a split model in order."""
    match = _SPLIT.fullmatch(file)
    count = int(match["count"]) if match else 0
    if not match or not 1 <= int(match["number"]) <= count:
        return (file,)
    return tuple(f"{match['stem']}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1))


def model_name(file: str) -> str:
    """What people call the model in a file: its name without folders, part number and ending."""
    name = file.rsplit("/", 1)[-1]
    match = _SPLIT.fullmatch(name)
    return match["stem"] if match else name.removesuffix(".gguf")


def choose_file(files: Sequence[str], spec: HubSpec) -> str | None:
    """Which of a repository's files a spec means, None if none of them.

    Of a split model the first part. Where several fit (as with folders by quantization) the shortest name wins.
    """
    if spec.file:
        wanted = split_parts(spec.file)[0]
        return wanted if wanted in files else None
    models = [file for file in files if is_model(file)]
    for quant in (spec.quant,) if spec.quant else _USUAL:
        fitting = [file for file in models if _has_quant(file, quant)]
        if fitting:
            return min(fitting, key=lambda file: (len(file), file))
    return min(models, key=lambda file: (len(file), file), default=None) if not spec.quant else None


def is_model(file: str) -> bool:
    """Whether a file's name is that of a model, of a split one the first part."""
    return file.endswith(".gguf") and split_parts(file)[0] == file and not _BESIDE.search(file.rsplit("/", 1)[-1])


def _has_quant(file: str, quant: str) -> bool:
    return bool(re.search(rf"(?i)(?<![A-Za-z0-9_]){re.escape(quant)}(?![A-Za-z0-9_])", file.removesuffix(".gguf")))
