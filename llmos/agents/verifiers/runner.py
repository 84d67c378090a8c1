"""Runs unit tests and says how each went: a program for the sandbox, where it is sent as text.

So it uses the standard library alone, and nothing here may import from llmos. The tested code runs in a forked child
that prints into nothing. It reports over a pipe, each line under a key; the parent counts the tests itself, from their
source, and says the result under a mark that is made after the fork and that the child never gets.
"""

import ast
import asyncio
import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
import types
import unittest
from typing import Any

LONGEST = 1 << 19
SHOWN = 6


def watch(
    tests: list[tuple[str, str | None]], code: str | None, module: str, values: list[str], seconds: float
) -> None:
    """Run everything in a child and print the result.

    Args:
        tests: File names, and texts; None for what the file has.
        code: What is tested, to be imported as `module`; None where it is in files.
        values: Expressions, whose values are told.
    """
    with contextlib.suppress(AttributeError):  # the child must not look into this process, nor write for it (Linux)
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    texts: dict[str, str] = {}
    names: list[str] = []
    failed: dict[str, str] = {}
    for name, text in tests:
        try:
            texts[name] = slurp(name) if text is None else text
            names += tests_in(name, ast.parse(texts[name]))
        except (OSError, SyntaxError, ValueError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
    count = len(names)
    names += [str(place) for place in range(len(values))]
    come, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(go)
            os.close(come)
            Work(wait, tell, texts, names, module).do(code, values)
        finally:
            os._exit(0)
    os.close(tell)
    mark, key = os.urandom(12).hex(), os.urandom(12).hex()
    print(mark, flush=True)
    os.write(go, key.encode())
    raw, how = listen(come, child, time.monotonic() + seconds)
    said: dict[str, Any] = {}
    twice = 0
    for line in raw.decode("utf-8", "replace").splitlines():
        if line.startswith(key):
            name, reason, value = json.loads(line[len(key) :])
            twice += name in said
            said[name] = reason, value
            if reason is not None:
                failed[name] = reason
    gone = [name for name in names if name not in said]
    shown = list(failed.items())[:SHOWN]
    told = {"tests": count, "failed": shown, "failures": len(failed), "gone": gone[:SHOWN], "lost": len(gone)}
    told |= {"how": how, "twice": twice, "values": {name: said[name][1] for name in names[count:] if name in said}}
    print("\n" + mark + json.dumps(told), flush=True)


def slurp(name: str) -> str:
    """A file's text."""
    with open(name, encoding="utf-8") as file:
        return file.read(LONGEST)


def tests_in(file: str, tree: ast.Module) -> list[str]:
    """The names of a file's tests; the file itself where it has none but asserts something."""
    functions = ast.FunctionDef, ast.AsyncFunctionDef
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, functions) and node.name.startswith("test"):
            found.append(f"{file}:{node.name}")
        elif isinstance(node, ast.ClassDef):
            inner = [one.name for one in node.body if isinstance(one, functions) and one.name.startswith("test")]
            found += [f"{file}:{node.name}.{name}" for name in inner]
    if not found and any(isinstance(node, ast.Assert) for node in ast.walk(tree)):
        found.append(f"{file}:")
    return found


def listen(come: int, child: int, deadline: float) -> tuple[bytes, str]:
    """What a child reports until it ends, and how it ended."""
    raw, how, status = b"", "late", -1
    while time.monotonic() < deadline:
        ready = bool(select.select([come], [], [], 0.05 if status < 0 else 0)[0])
        piece = os.read(come, 65536) if ready else b""
        raw += piece
        if len(raw) > LONGEST:
            how = "flooded"
            break
        if not piece and (ready or status >= 0):
            how = "ended"
            break
        if not ready:
            pid, now = os.waitpid(child, os.WNOHANG)
            status = now if pid else status
    for end in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            if how != "ended" or end is os.killpg:
                end(child, signal.SIGKILL)
    if status < 0:
        status = os.waitpid(child, 0)[1]
    return raw, how if how != "ended" else f"exit code {os.waitstatus_to_exitcode(status)}"


class Work:
    """The child: loads the code, runs the tests, reports."""

    def __init__(self, wait: int, tell: int, texts: dict[str, str], names: list[str], module: str) -> None:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for place in range(3):
            os.dup2(nothing, place)
        key, write, dumps = os.read(wait, 64), os.write, json.dumps
        os.close(wait)

        def report(name: str, reason: str | None, value: str = "") -> None:
            write(tell, key + dumps([name, reason, value]).encode() + b"\n")

        self.report, self.texts, self.names, self.module = report, texts, names, module

    def do(self, code: str | None, values: list[str]) -> None:
        """All of it."""
        scope: dict[str, Any] = {"__name__": "tests"}
        sys.path.insert(0, os.getcwd())
        try:
            if code is not None:
                made = sys.modules[self.module] = types.ModuleType(self.module)
                self.texts[f"{self.module}.py"] = code
                exec(compile(code, f"{self.module}.py", "exec"), made.__dict__)
                scope |= {name: value for name, value in vars(made).items() if name[:2] != "__"}
            elif values:
                scope |= vars(importlib.import_module(self.module))
        except BaseException as error:  # SystemExit as well: whatever it raises is a result
            for name in self.names:
                self.report(name, f"the code can't be loaded: {self.why(error)}")
            return
        for place, expression in enumerate(values):
            self.attempt(str(place), lambda text=expression: json.dumps(eval(text, dict(scope)))[:400])
        for file in [name for name in self.texts if any(one.startswith(f"{name}:") for one in self.names)]:
            self.run(file, {**scope, "__name__": os.path.basename(file).removesuffix(".py")})

    def run(self, file: str, scope: dict[str, Any]) -> None:
        """A file's tests."""
        mine = [name for name in self.names if name.startswith(f"{file}:")]
        try:
            exec(compile(self.texts[file], file, "exec"), scope)
        except BaseException as error:  # whatever the code under test raises is its result
            for name in mine:
                self.report(name, self.why(error))
            return
        for name in mine:
            self.attempt(name, lambda name=name: call(scope, name[len(file) + 1 :]))

    def attempt(self, name: str, action: Any) -> None:  # noqa: ANN401
        """One test, or one value."""
        try:
            value = action()
        except BaseException as error:  # whatever the code under test raises is its result
            self.report(name, self.why(error))
        else:
            self.report(name, None, value or "")

    def why(self, error: BaseException) -> str:
        """An error with the line that it came from, and for a failed comparison both sides."""
        said, line, frame = f"{type(error).__name__}: {str(error)[:160]}".rstrip(": "), "", None
        place = error.__traceback__
        while place:
            text = self.texts.get(place.tb_frame.f_code.co_filename)
            if text is not None:
                line, frame = text.splitlines()[place.tb_lineno - 1].strip(), place.tb_frame
            place = place.tb_next
        if frame and line.startswith("assert ") and not str(error):
            with contextlib.suppress(Exception):  # the line says enough where its sides can't be worked out
                test: Any = ast.parse(line).body[0]
                sides = [test.test.left, *test.test.comparators]
                left, right = (eval(ast.unparse(side), frame.f_globals, frame.f_locals) for side in sides)
                said = f"{ast.unparse(sides[0])} is {left!r:.80}, the other side {right!r:.80}"
        return f"{said} in `{line[:100]}`" if line else said


def call(scope: dict[str, Any], name: str) -> None:
    """Run a test by its name; none is the file itself, which has run."""
    first, _, method = name.partition(".")
    if not first:
        return
    what = scope[first]
    if method and issubclass(what, unittest.TestCase):
        what.setUpClass()
        what(method).debug()
        what.tearDownClass()
    else:
        back = getattr(what(), method)() if method else what()
        if asyncio.iscoroutine(back):
            asyncio.run(back)
