"""Compiles and renders chat templates, which are untrusted code (CVE-2024-34359).

Jinja's immutable sandbox keeps a template away from Python's insides. It sets no limit to time and memory, so the
syntax tree is rewritten before it is compiled: loops, macros and operations pay from a `Budget`. What a template may do
with values is in `operations`. Knows no messages and no roles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from llmos.engine.chat import operations
from llmos.engine.chat.budget import Budget, Exceeded, Refused, Spending, current
from llmos.errors import TemplateError

MAX_CHARACTERS = 128 << 10
"""Longest template, in characters; the longest ones in use have a fifth of that."""
MAX_NODES = 10_000
"""Most nodes in a template's syntax tree."""

_FORBIDDEN = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.ScopedEvalContextModifier)
_SPEC = re.compile(r"(?:.?[<>=^])?[-+ #0]{0,4}\d{0,2}[,_]?(?:\.\d{1,2})?[a-zA-Z%]?")
_HINT = "The template is part of the model file: get the model from another source."

_SCOPES = ("_loop_vars", "_block_vars")  # Jinja passes these to every call; they are for macros
# Names that no template can write, so that it can't call them itself.
_TICK, _WEIGHED, _SIZED, _SEARCHED, _CONTAINED, _PLAIN = (
    "tick!",
    "weighed!",
    "sized!",
    "searched!",
    "contained!",
    "plain!",
)


class Template:
    """A compiled chat template.

    Args:
        source: Jinja, as a GGUF file has it.

    Raises:
        TemplateError: It is malformed, too long, or uses what templates may not.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_CHARACTERS:
            raise TemplateError(
                f"The chat template has {len(source):,} characters; the limit is {MAX_CHARACTERS:,}.", hint=_HINT
            )
        environment = _environment()
        try:
            with Spending(Budget(MAX_NODES)):
                tree = environment.parse(source)
                _check(tree)
                _Rewriter().visit(tree)
                tree.set_environment(environment)
                code = environment.compile(tree, "chat template", "chat template")
            self._template = jinja2.Template.from_code(environment, code, environment.globals)
        except Exception as error:  # what malformed code raises is not limited to Jinja's own errors
            raise TemplateError(f"The chat template can't be compiled: {_reason(error)}.", hint=_HINT) from error

    def render(self, variables: Mapping[str, Any], *, work: int, characters: int) -> str:
        """The text for these variables.

        Args:
            variables: Strings, numbers, lists and mappings only.
            work: Units of `Budget` it may use.
            characters: Longest output.

        Raises:
            Refused: It called `raise_exception`, or failed on these messages.
            TemplateError: It used forbidden means, or took more than it may.
        """
        parts: list[str] = []
        try:
            with Spending(Budget(work)):
                for part in self._template.generate(variables):
                    parts.append(part)
                    characters -= len(part)
                    if characters < 0:
                        raise Exceeded("writes too long a text")
        except (Exceeded, SecurityError, RecursionError, MemoryError) as error:
            raise TemplateError(f"The chat template was stopped: {_reason(error)}.", hint=_HINT) from error
        except Refused:
            raise
        except Exception as error:  # a sandboxed template can raise anything; Jinja says to catch it all
            raise Refused(_reason(error)) from error
        return "".join(parts)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")[:200]
    if isinstance(error, Exceeded):
        return f"it {text}"
    line = f" in line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
    return f"{type(error).__name__}{line}: {text}" if text else type(error).__name__


class _Formatter(SandboxedFormatter):
    """`str.format` whose fields are paid for and can't be padded far."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(operations.shown(value), conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        if not _SPEC.fullmatch(format_spec):
            raise Exceeded(f"pads a text by {format_spec[:40]!r}")
        return operations.paid(super().format_field(operations.shown(value), format_spec))


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, methods in operations.METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return isinstance(obj, LoopContext | Namespace) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        text, by_mapping = str(value.__self__), value.__name__ == "format_map"

        def wrapper(*args: Any, **options: Any) -> str:
            current().text(len(text))
            if by_mapping:
                options, args = args[0], ()
            return str(operations.paid(_Formatter(self).vformat(text, args, options)))

        return wrapper

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return operations.binary(operator, left, right, self.binop_table[operator])

    def getitem(self, obj: Any, argument: Any) -> Any:
        if not isinstance(argument, int):
            current().weigh(argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        current().charge(4 + len(args) + len(kwargs))
        if not __self.is_safe_callable(__obj):
            raise Exceeded("calls what it may not")
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, tuple(operations.METHODS)):
            options = {name: value for name, value in kwargs.items() if name not in _SCOPES}
            return operations.call_method(owner, __obj, args, options)
        if isinstance(owner, LoopContext):
            args = tuple(operations.weighed(value) for value in args)
        elif __obj in (dict, Namespace):
            for value in (*args, *kwargs.values()):
                operations.paid(operations.plain(value))
        result = __context.call(__obj, *args, **kwargs)
        return operations.contained(result) if isinstance(result, dict) else result


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant said, for training; has no effect on the text."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,
        extensions=[loopcontrols, _Generation],
        finalize=_finalize,
    )
    environment.filters.clear()
    environment.filters.update(operations.filters())
    own_filters: dict[str, Callable[..., Any]] = {
        _TICK: _tick,
        _WEIGHED: operations.weighed,
        _SIZED: operations.sized,
        _SEARCHED: operations.searched,
        _CONTAINED: operations.contained,
        _PLAIN: operations.plain,
    }
    environment.filters.update(own_filters)
    environment.tests.clear()
    environment.tests.update(operations.tests())
    for name in ("lipsum", "cycler", "joiner"):
        del environment.globals[name]
    functions: dict[str, Any] = {"raise_exception": _raise_exception, "strftime_now": operations.strftime_now}
    environment.globals.update(functions)
    return environment


@jinja2.pass_context
def _finalize(context: Context, value: Any) -> Any:
    """Pay for each output; needs the context only so that Jinja doesn't call it while it compiles."""
    return operations.shown(value)


def _tick(value: object, units: int) -> object:
    """Pay for the next turn of a loop or call of a macro."""
    current().charge(units)
    return value


def _raise_exception(message: object = "") -> None:
    raise Refused(str(operations.shown(message))[:200])


def _check(tree: nodes.Template) -> None:
    for count, _ in enumerate(tree.find_all(nodes.Node)):
        if count > MAX_NODES:
            raise Exceeded(f"has more than {MAX_NODES:,} parts")
    for forbidden in filter(None, map(tree.find, _FORBIDDEN)):
        raise Exceeded(f"uses {type(forbidden).__name__} in line {forbidden.lineno}")


class _Rewriter(NodeTransformer):
    """Puts payments into a syntax tree, in place."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        units = _units(node)
        self.generic_visit(node)
        if node.test is not None:
            node.test = _wrap(node.test, _TICK, units)
        node.body.insert(0, _payment(node, units))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        self._pay_first(node, node.body)
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self._pay_first(node, node.body)
        return node

    def visit_Block(self, node: nodes.Block) -> nodes.Block:
        self._pay_first(node, node.body)
        return node

    def _pay_first(self, node: nodes.Node, body: list[nodes.Node]) -> None:
        units = _units(node)
        self.generic_visit(node)
        body.insert(0, _payment(node, units))

    def visit_Concat(self, node: nodes.Concat) -> nodes.Concat:
        self.generic_visit(node)
        node.nodes = [_wrap(each, _WEIGHED) for each in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:
        self.generic_visit(node)
        sides = [node.expr, *(operand.expr for operand in node.ops)]
        if len(sides) == 2 and any(isinstance(side, nodes.Const) for side in sides) and "in" not in node.ops[0].op:
            return node  # a comparison with a constant costs no more than the constant is long
        node.expr = _wrap(node.expr, _WEIGHED)
        for operand in node.ops:
            operand.expr = _wrap(operand.expr, _SEARCHED if operand.op in ("in", "notin") else _WEIGHED)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):  # compiled to a plain slice, which passes the environment by
            node.node = _wrap(node.node, _SIZED)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Expr:
        return self._container(node, node.items)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:
        return self._container(node, [pair.value for pair in node.items])

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        return self._container(node, node.items) if node.ctx == "load" else node

    def _container(self, node: nodes.Expr, items: list[nodes.Expr]) -> nodes.Expr:
        self.generic_visit(node)
        return node if all(isinstance(item, nodes.Const) for item in items) else _wrap(node, _CONTAINED)

    def visit_Assign(self, node: nodes.Assign) -> nodes.Assign:
        self.generic_visit(node)
        if isinstance(node.target, nodes.NSRef) or node.target.find(nodes.NSRef) is not None:
            node.node = _wrap(node.node, _PLAIN)
        return node


def _units(node: nodes.Node) -> int:
    """What one pass over a piece of a template costs: its steps and its text."""
    texts = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
    return 1 + sum(1 for _ in node.find_all(nodes.Node)) + texts // 8


def _wrap(node: nodes.Node, name: str, *args: int) -> nodes.Expr:
    constants: list[nodes.Expr] = [nodes.Const(arg, lineno=node.lineno) for arg in args]
    return nodes.Filter(cast(nodes.Expr, node), name, constants, [], None, None, lineno=node.lineno)


def _payment(node: nodes.Node, units: int) -> nodes.Node:
    return nodes.ExprStmt(_wrap(nodes.Const(None, lineno=node.lineno), _TICK, units), lineno=node.lineno)
