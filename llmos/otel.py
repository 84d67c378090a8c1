"""Spans for OpenTelemetry, in the terms of its conventions for generative AI (semconv 1.37, `gen_ai.*`).

Needs the extra `llmos[otel]`. What is exported is what happened, never contents: no prompt, argument or result. Knows
the system's events and no exporter: which tracer provider is set up is the application's business.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmos.errors import ConfigError
from llmos.events import CallEnded, CallStarted, ProcessChanged

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

    from llmos.runs import RunEvent

_OPERATIONS = {"think": "chat", "act": "execute_tool"}
_ENDED = ("done", "failed", "killed")


class Spans:
    """Turns a system's events into spans: one for each process, and in it one for each system call.

    Args:
        model: The model's name, for `gen_ai.request.model`.
        tracer: By default that of the global tracer provider.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """

    def __init__(self, *, model: str = "", tracer: Tracer | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise ConfigError(
                "Spans need OpenTelemetry, which is not installed.", hint="pip install 'llmos[otel]'"
            ) from error
        self._trace = trace
        self._tracer = tracer or trace.get_tracer("llmos")
        self._model = model
        self._processes: dict[str, Span] = {}
        self._calls: dict[tuple[str, str, int], Span] = {}

    def __call__(self, event: RunEvent) -> None:
        """Take in one event: to be given to `System.listen`."""
        match event:
            case ProcessChanged():
                self._process(event)
            case CallStarted():
                parent = self._trace.set_span_in_context(self._processes.get(event.pid, self._trace.INVALID_SPAN))
                operation = _OPERATIONS.get(event.call, event.call)
                span = self._tracer.start_span(operation, context=parent)
                span.set_attribute("gen_ai.operation.name", operation)
                if event.call == "act":
                    span.set_attribute("gen_ai.tool.name", event.title.partition("(")[0])
                elif event.call == "think":
                    span.set_attribute("gen_ai.request.model", self._model)
                self._calls[event.pid, event.path, event.number] = span
            case CallEnded():
                self._call_ended(event)
            case _:
                pass

    def _process(self, event: ProcessChanged) -> None:
        span = self._processes.get(event.pid)
        if span is None and event.state == "running":
            above = self._processes.get(event.parent, self._trace.INVALID_SPAN)
            span = self._tracer.start_span(
                f"invoke_agent {event.agent}", context=self._trace.set_span_in_context(above)
            )
            span.set_attribute("gen_ai.operation.name", "invoke_agent")
            span.set_attribute("gen_ai.agent.name", event.agent)
            span.set_attribute("gen_ai.agent.id", event.pid)
            self._processes[event.pid] = span
        elif span is not None and event.state in _ENDED:
            if event.state != "done":
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, event.state))
            del self._processes[event.pid]
            span.end()

    def _call_ended(self, event: CallEnded) -> None:
        span = self._calls.pop((event.pid, event.path, event.number), None)
        if span is None:
            return
        if event.usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", event.usage.prompt_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", event.usage.generated_tokens)
            span.set_attribute("llmos.usage.reused_tokens", event.usage.reused_tokens)
        if event.failed:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
        span.end(time.time_ns())
