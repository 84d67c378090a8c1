"""What tools get while they run, made of real folders; asks and pre-images are written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmos.kernel.protocols import Access


@dataclass
class Place:
    """A workspace, a run's folder, and what tools did through their access."""

    root: Path
    answer: str = "yes"
    deps: Any = None
    key: str = "run/1/1"
    asked: list[str] = field(default_factory=list[str])
    kept: list[tuple[Path, bytes | None]] = field(default_factory=list[tuple[Path, bytes | None]])
    said: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.workspace.mkdir(parents=True)

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def folder(self) -> Path:
        return self.root / "run"

    def access(self) -> Access:
        async def ask(question: str) -> str:
            self.asked.append(question)
            return self.answer

        async def keep(path: Path) -> None:
            self.kept.append((path, path.read_bytes() if path.exists() else None))

        return Access(
            pid="1",
            workspace=self.workspace,
            folder=self.folder,
            key=self.key,
            deps=self.deps,
            ask=ask,
            keep=keep,
            progress=self.said.append,
        )

    def write(self, path: str, content: str | bytes) -> Path:
        file = self.workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def undo(self) -> None:
        """Put back what was kept, the latest first, as the kernel does."""
        for path, content in reversed(self.kept):
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
