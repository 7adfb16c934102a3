"""Metrics for Prometheus, counted from the record of each request and from the engine.

Names and meanings follow vLLM (docs.vllm.ai, "Production metrics") where both servers measure the
same, with the prefix `starcoder_` in place of `vllm:`. Labels never contain what a client chose: a
route is the path of one of ours or `other`, and there is no label for users, because each value
would make a new series. The access log says who asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from engine.server.operation.recording import RecordedEngine
from engine.server.operation.request_record import EndReason, RequestRecord

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)
"""Bounds of histograms, in seconds. A suggestion is useful up to about 300 ms."""
_FIRST_TOKEN_BUCKETS = (*_SECONDS, 10.0)
_TOKEN_BUCKETS = (0.001, 0.002, *_SECONDS, 10.0)
_REQUEST_BUCKETS = (*_SECONDS, 10.0, 30.0, 60.0, 120.0)
_OTHER = "other"
_CLIENT_CLOSED_REQUEST = 499


class ServerMetrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, engine: RecordedEngine) -> None:
        self._registry = _Registry()
        self._registry.register(_EngineCollector(engine))
        self._requests = self._counter(
            "http_requests", "HTTP requests that have ended.", "status", "end"
        )
        self._errors = self._counter(
            "request_errors", "HTTP requests that failed or were refused.", "status"
        )
        self._prompt = self._counter("prompt_tokens", "Prompt tokens, computed or reused.")
        self._output = self._counter("generation_tokens", "Generated tokens.")
        self._scored = self._counter("scored_tokens", "Tokens of prompts that were scored.")
        self._queries = self._counter(
            "prefix_cache_queries", "Prompt tokens that were looked up in the prefix cache."
        )
        self._hits = self._counter(
            "prefix_cache_hits", "Prompt tokens whose rows were in the prefix cache."
        )
        self._drafted = self._counter(
            "spec_decode_num_draft_tokens", "Draft tokens that the model checked."
        )
        self._accepted = self._counter(
            "spec_decode_num_accepted_tokens", "Draft tokens that the model accepted."
        )
        self._first_token = self._histogram(
            "time_to_first_token_seconds",
            "Time from the head of a request to the first chunk of its output.",
            _FIRST_TOKEN_BUCKETS,
        )
        self._token = self._histogram(
            "inter_token_latency_seconds",
            "Time between output tokens, measured between chunks.",
            _TOKEN_BUCKETS,
        )
        self._queue = self._histogram(
            "request_queue_time_seconds",
            "Time for which an output waited until its computation started.",
            _FIRST_TOKEN_BUCKETS,
        )
        self._request = self._histogram(
            "e2e_request_latency_seconds",
            "Time from the head of a request to the end of its response.",
            _REQUEST_BUCKETS,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"starcoder_{name}", text, ("route", *labels), registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"starcoder_{name}", text, ("route",), registry=self._registry, buckets=buckets
        )

    def observe(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        route = record.route or _OTHER
        status = str(record.status or _CLIENT_CLOSED_REQUEST)
        self._requests.labels(route, status, record.end or EndReason.FAILED).inc()
        if record.end in (EndReason.FAILED, EndReason.REFUSED):
            self._errors.labels(route, status).inc()
        if record.ended is not None:
            self._request.labels(route).observe(record.ended - record.arrived)
        if record.outputs:
            self._count_tokens(record, route)
            self._time_tokens(record, route)

    def _count_tokens(self, record: RequestRecord, route: str) -> None:
        for output in record.outputs:
            if output.is_scoring:
                self._scored.labels(route).inc(output.prompt_tokens)
                continue
            self._prompt.labels(route).inc(output.prompt_tokens)
            self._output.labels(route).inc(output.completion_tokens)
            self._queries.labels(route).inc(output.prompt_tokens)
            self._hits.labels(route).inc(output.reused_tokens)
            if output.usage is not None:
                self._drafted.labels(route).inc(output.usage.drafted_tokens)
                self._accepted.labels(route).inc(output.usage.accepted_tokens)

    def _time_tokens(self, record: RequestRecord, route: str) -> None:
        if record.first_token is not None:
            self._first_token.labels(route).observe(record.first_token - record.arrived)
        for output in record.outputs:
            if output.started is not None:
                self._queue.labels(route).observe(output.started - output.submitted)
        histogram = self._token.labels(route)
        for seconds, num_tokens in record.token_gaps:
            for _ in range(num_tokens):
                histogram.observe(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their media type, in a format that the header Accept allows."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Registry(CollectorRegistry):
    """A registry without the time at which each series was created.

    These times would be a third of all series, and Prometheus does not use them by default.
    """

    def collect(self) -> Iterable[Metric]:
        """See `CollectorRegistry`."""
        for metric in super().collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


class _EngineCollector(Collector):
    """Reads the counters and sizes of the engine when somebody asks for them."""

    def __init__(self, engine: RecordedEngine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        metrics = self._engine.metrics()
        gauges = {
            "num_requests_running": ("Outputs in the running batch.", metrics.requests_running),
            "num_requests_waiting": (
                "Questions that wait for the model to be loaded, or for others to end.",
                self._engine.num_waiting,
            ),
            "kv_cache_bytes": ("Memory of the KV caches.", metrics.cache_bytes),
            "kv_caches_in_use": ("KV caches that requests use.", metrics.caches_in_use),
        }
        counters = {
            "engine_requests": ("Outputs and scores that the engine started.", metrics.requests),
            "forward_passes": ("Forward passes of the model.", metrics.steps),
            "computed_tokens": (
                "Tokens computed in forward passes, draft tokens included.",
                metrics.computed_tokens,
            ),
        }
        reloads = CounterMetricFamily(
            "starcoder_model_reloads", "Times that the model was loaded again.", labels=["result"]
        )
        reloads.add_metric(["success"], metrics.reloads)
        reloads.add_metric(["failure"], metrics.failed_reloads)
        yield reloads
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"starcoder_{name}", text, value=value)
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"starcoder_{name}", text, value=value)
