"""What is exported to OpenTelemetry: spans in each other, tokens, failures, and no contents."""

from __future__ import annotations

import pytest

from llmos import Kernel
from llmos.kernel.process import Process
from llmos.runs import Parts
from tests.kernel.conftest import Lever, Permissive

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmos.otel import Spans


async def agent(process: Process, secret: str) -> None:
    await process.think(secret)
    await process.act("lever", {"n": 1})
    await process.wait(await process.spawn(child))


async def child(process: Process) -> None:
    await process.act("nothing", {})


async def test_spans_stand_in_each_other_and_hold_no_contents() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(model="scripted", tracer=provider.get_tracer("test"))
    async with Kernel.testing(parts=Parts(policy=Permissive(), listeners=(spans,))) as kernel:
        running = await kernel.spawn(agent, "open sesame", tools=[Lever()])
        with pytest.raises(Exception, match="no tool 'nothing'"):
            await running.result()
    found = {span.name: span for span in exporter.get_finished_spans()}
    assert set(found) == {"invoke_agent agent", "invoke_agent child", "chat", "execute_tool", "spawn", "wait"}
    root = found["invoke_agent agent"]
    assert root.context is not None
    for name in ("chat", "execute_tool", "invoke_agent child"):
        parent = found[name].parent
        assert parent is not None
        assert parent.span_id == root.context.span_id
    usage = found["chat"].attributes
    assert usage is not None
    assert usage["gen_ai.usage.output_tokens"] == 1
    assert not root.status.is_ok
    assert "sesame" not in "".join(span.to_json() for span in found.values())
