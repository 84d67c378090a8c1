"""What `import llmos` offers."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import llmos

PACKAGE = Path(__file__).resolve().parent.parent / "llmos"


def test_every_public_name_is_there() -> None:
    missing = [name for name in llmos.__all__ if not hasattr(llmos, name)]
    assert not missing


def test_every_public_name_is_listed_once() -> None:
    assert len(set(llmos.__all__)) == len(llmos.__all__)


def test_nothing_public_is_left_out_of_all() -> None:
    script = "import llmos; print(' '.join(dir(llmos)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    submodules = {path.stem for path in PACKAGE.iterdir()}
    public = {name for name in done.stdout.split() if not name.startswith("_")} - submodules - {"TYPE_CHECKING"}
    assert public - {"annotations"} == {name for name in llmos.__all__ if not name.startswith("_")}


def test_a_star_import_gives_exactly_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from llmos import *", names)
    assert set(names) - {"__builtins__"} == set(llmos.__all__)


def test_a_wrong_name_is_an_attribute_error_that_says_it() -> None:
    assert not hasattr(llmos, "no_such_name")


def test_public_classes_and_functions_are_documented() -> None:
    things = {name: getattr(llmos, name) for name in llmos.__all__}
    silent = [name for name, it in things.items() if (inspect.isclass(it) or inspect.isfunction(it)) and not it.__doc__]
    assert not silent


def test_the_init_module_holds_public_names_and_nothing_else() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert defined <= {"__getattr__", "__dir__"}


def test_the_lists_of_names_in_other_modules_are_right() -> None:
    wrong: list[str] = []
    for path in PACKAGE.rglob("*.py"):
        if "\n__all__" not in path.read_text(encoding="utf-8"):
            continue
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        wrong += [f"{module.__name__}.{name}" for name in module.__all__ if not hasattr(module, name)]
    assert not wrong


def test_the_version_is_the_one_of_the_package() -> None:
    from importlib.metadata import version

    assert llmos.__version__ == version("llmos")
