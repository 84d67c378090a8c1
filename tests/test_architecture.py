"""The shape of the code: what may import what, sizes, docstrings, swallowed errors, and what start-up costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "llmos"
MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 80

# What each part of llmos may import, besides itself. shell, server, learn -> agents, tools, memory, engine -> kernel ->
# events, errors, messages; the parts of one level don't know each other, and `boot` wires them.
WORDS = {"errors", "messages", "events"}
LOW = WORDS | {"addresses", "config", "gist", "wire"}
KERNEL = LOW | {"kernel"}
BOOT = KERNEL | {"boot", "browsing", "runs", "portal", "engine", "memory", "tools", "agents"}
MAY_IMPORT = {
    "addresses": set[str](),
    "gist": set[str](),
    "errors": set[str](),
    "messages": {"errors"},
    "events": {"errors", "messages"},
    "config": {"errors", "messages"},
    "wire": WORDS,
    "portal": KERNEL,
    "kernel": LOW,
    "engine": KERNEL,
    "memory": KERNEL,
    "tools": KERNEL,
    "agents": KERNEL,
    "otel": {"errors", "events", "runs"},
    "runs": BOOT,
    "boot": BOOT,
    "browsing": BOOT,
    "shell": BOOT | {"learn"},
    "server": BOOT,
    "learn": BOOT,
    "__init__": {"agents", "boot", "config", "errors", "events", "kernel", "messages", "tools"},
    "__main__": {"shell"},
}
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "faiss",
    "llama_cpp",
    "onnxruntime",
    "playwright",
    "tokenizers",
    "gguf",
}


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path
    name: str
    source: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """The file or folder directly in `llmos` that it belongs to."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def where(self, node: ast.stmt | ast.expr | ast.ExceptHandler) -> str:
        """Its place, as editors understand it."""
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    found: list[Module] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        source = path.read_text(encoding="utf-8")
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(path, name, source, ast.parse(source, filename=str(path))))
    return tuple(found)


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every module of llmos that is imported, wherever in the file, by its full name."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom() if node.level == 0:
                # `from llmos import errors` imports a module, `from llmos import Kernel` a name of `__init__`
                names = [
                    f"{node.module}.{alias.name}" if node.module == "llmos" else node.module or ""
                    for alias in node.names
                ]
            case ast.ImportFrom():
                package = module.name.split(".") if module.path.name == "__init__.py" else module.name.split(".")[:-1]
                base = package[: len(package) - node.level + 1]
                names = [".".join([*base, *([node.module] if node.module else [alias.name])]) for alias in node.names]
            case _:
                continue
        for name in names:
            if name.split(".")[0] == "llmos":
                assert isinstance(node, ast.stmt)
                yield node, name


def part_of(name: str) -> str:
    """The part of llmos that an imported name belongs to; `__init__` for public names."""
    parts = name.split(".")
    if len(parts) > 1 and ((PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").exists()):
        return parts[1]
    return "__init__"


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function, nested ones too."""
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_part_of_llmos_has_a_place_in_the_order() -> None:
    unknown = {module.part for module in modules()} - set(MAY_IMPORT)
    assert not unknown, f"say in MAY_IMPORT what these may import: {sorted(unknown)}"


def test_dependencies_point_one_way() -> None:
    wrong = [
        f"{module.where(node)} llmos.{module.part} must not import {name}"
        for module in modules()
        for node, name in imports(module)
        if (part := part_of(name)) != module.part and part not in MAY_IMPORT[module.part]
        if name != "llmos.__version__"
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_in_the_package_imports_the_links_at_the_top() -> None:
    wrong = [
        module.where(node)
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in {"tools", "agents", "memory"} and not (isinstance(node, ast.ImportFrom) and node.level)
    ]
    assert not wrong, wrong


def test_the_links_at_the_top_lead_into_the_package() -> None:
    for name in ("tools", "agents", "memory"):
        link = ROOT / name
        # a checkout without symbolic links has a small file in its place
        target = str(link.readlink()) if link.is_symlink() else link.read_text(encoding="utf-8")
        assert target == f"llmos/{name}"


def test_modules_are_small() -> None:
    large = {str(m.path.relative_to(ROOT)): n for m in modules() if (n := m.source.count("\n")) > MAX_MODULE_LINES}
    assert not large


def test_functions_fit_on_a_screen() -> None:
    large: list[str] = []
    for module in modules():
        for function in functions(module):
            docstring = function.body[0] if ast.get_docstring(function) else None
            lines = (function.end_lineno or 0) - function.lineno + 1
            if docstring:
                lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                large.append(f"{module.where(function)} {function.name} has {lines} lines")
    assert not large, "\n".join(large)


def test_every_module_says_what_it_is_for() -> None:
    silent = [module.name for module in modules() if not ast.get_docstring(module.tree)]
    assert not silent


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {module.path.parent for module in modules()}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_a_broad_except_says_why() -> None:
    """`except Exception` swallows errors nobody thought of; a comment at its line or at the next says why it must.

    One that cleans up and raises again swallows nothing.
    """
    unexplained: list[str] = []
    for module in modules():
        lines = module.source.splitlines()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and not raises_again(node):
                said = " ".join(comment(line) for line in lines[node.lineno - 1 : node.lineno + 1])
                if len(said.split()) < 3:
                    unexplained.append(module.where(node))
    assert not unexplained, "\n".join(unexplained)


def is_broad(caught: ast.expr | None) -> bool:
    """Whether an except clause catches everything."""
    if isinstance(caught, ast.Tuple):
        return any(is_broad(kind) for kind in caught.elts)
    return caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Whether an except clause ends with a bare `raise`."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def comment(line: str) -> str:
    """The words of a line's comment that are for people."""
    words = line.partition("#")[2]
    return "" if words.strip().startswith(("noqa", "type:", "pyright:")) else words


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh Python has loaded after running `code`."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import llmos",
        "sys.argv = ['llmos', '--help']; from llmos.__main__ import main; main()",
        "sys.argv = ['llmos', '--version']; from llmos.__main__ import main; main()",
        "import llmos; llmos.Kernel",
    ],
)
def test_starting_up_loads_no_heavy_package(code: str) -> None:
    assert not loaded_by(code) & HEAVY


def test_what_trains_is_imported_when_something_is_trained() -> None:
    """Torch and gguf at the top of a module would be loaded by whatever imports it; the model itself is written in
    torch, and is imported inside functions."""
    wrong = [
        module.where(node)
        for module in modules()
        if module.name != "llmos.learn.model"
        for node in module.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in {"torch", "gguf"} or name == "llmos.learn.model"
    ]
    assert not wrong, wrong


def test_asking_for_the_version_loads_only_the_standard_library() -> None:
    loaded = loaded_by("sys.argv = ['llmos', '--version']; from llmos.__main__ import main; main()")
    bare = loaded_by("pass")
    assert loaded - bare - set(sys.stdlib_module_names) <= {"llmos"}
