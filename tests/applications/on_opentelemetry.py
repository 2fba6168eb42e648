# requires: opentelemetry-sdk opentelemetry-instrumentation-asgi opentelemetry-instrumentation-fastapi fastapi
"""OpenTelemetry around FastAPI: spans that a thread of the exporter's collects, in each worker its own."""

from __future__ import annotations

from typing import Any

import httpx
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
trace.set_tracer_provider(provider)

app = FastAPI()


@app.get("/work/{number}")
async def work(number: int) -> dict[str, Any]:
    with trace.get_tracer(__name__).start_as_current_span("inner") as span:
        return {"number": number, "recording": span.is_recording()}


@app.get("/spans")
def spans() -> list[str]:
    """Of the request before, on the same connection."""
    provider.force_flush()
    names = [span.name for span in exporter.get_finished_spans()]
    exporter.clear()
    return sorted(set(names) & {"inner", "GET /work/{number}"})


FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        answer = client.get("/work/1", headers=traced)
        collected = client.get("/spans")
    return answer.json(), collected.status_code
