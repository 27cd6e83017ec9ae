"""Counts and latencies of the server under TF Serving's names."""

import bisect
import collections
import itertools
import threading

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric

PATH = "/monitoring/prometheus/metrics"

# TF Serving's buckets: microseconds from 10 in 33 steps of 1.8, from 100 in 52 steps of 1.2, and rows from 1 in 15 steps of 2.
_LATENCY_BOUNDS = tuple(10 * 1.8**step for step in range(33))
_QUEUING_BOUNDS = tuple(100 * 1.2**step for step in range(52))
_ROW_BOUNDS = tuple(2.0**step for step in range(15))

_COUNTERS = {
    ":tensorflow:serving:request_count": ("The total number of requests.", ("model_name", "status")),
    ":tensorflow:serving:request_example_count_total": ("The total number of tensorflow.Examples.", ("model",)),
    ":tensorflow:serving:batching_session:wrapped_run_count": ("Total count of run calls on the wrapped session", ()),
    ":tensorflow:cc:saved_model:load_attempt_count": (
        "The number of times a SavedModel was requested to be loaded.",
        ("model_path", "status"),
    ),
}
_HISTOGRAMS = {
    ":tensorflow:serving:request_latency": (
        "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
        ("model_name", "API", "entrypoint"),
        _LATENCY_BOUNDS,
    ),
    ":tensorflow:serving:runtime_latency": (
        "Distribution of wall time (in microseconds) for Tensorflow runtime.",
        ("model_name", "API", "runtime"),
        _LATENCY_BOUNDS,
    ),
    ":tensorflow:serving:model_warmup_latency": (
        "Distribution of wall time (in microseconds) for warming up the model.",
        ("model_path", "status"),
        _LATENCY_BOUNDS,
    ),
    ":tensorflow:serving:request_example_counts": ("The number of tensorflow.Examples per request.", ("model",), _ROW_BOUNDS),
    ":tensorflow:serving:batching_session:queuing_latency": (
        "Distribution of wall time spent (in microseconds) in queuing",
        ("thread_pool_name",),
        _QUEUING_BOUNDS,
    ),
}


class _Histogram:
    def __init__(self, num_bounds):
        self.counts = [0] * (num_bounds + 1)
        self.sum = 0.0


class ServerMetrics:
    """What the server counts; to be used from any thread."""

    def __init__(self):
        """Nothing counted yet."""
        self._lock = threading.Lock()
        self._counts = {name: collections.Counter() for name in _COUNTERS}
        self._histograms = {name: {} for name in _HISTOGRAMS}
        self._known_names_fn = None

    def know_models(self, names_fn):
        """Makes sure that clients cannot fill the page with names of their own.

        Args:
            names_fn: function that gives the names of the models; requests for others are counted under "".
        """
        self._known_names_fn = names_fn

    def count_request(self, model_name, api, status, seconds, entrypoint="GRPC"):
        """Counts one answer.

        Args:
            model_name: name that was asked for.
            api: name of the method.
            status: name of the gRPC status.
            seconds: from request to answer.
            entrypoint: how it came, "GRPC" or "LOCAL".
        """
        name = self._known(model_name)
        with self._lock:
            self._counts[":tensorflow:serving:request_count"][name, status] += 1
            if status == "OK":
                self._observe(":tensorflow:serving:request_latency", (name, api, entrypoint), seconds * 1e6)

    def observe_runtime(self, model_name, api, seconds):
        """Notes what the model itself took, waiting included.

        Args:
            model_name: name that was asked for.
            api: name of the method.
            seconds: of the run.
        """
        with self._lock:
            self._observe(":tensorflow:serving:runtime_latency", (self._known(model_name), api, "TF1"), seconds * 1e6)

    def count_examples(self, model_name, num_examples):
        """Counts the examples of one request.

        Args:
            model_name: name that was asked for.
            num_examples: rows.
        """
        name = self._known(model_name)
        with self._lock:
            self._counts[":tensorflow:serving:request_example_count_total"][(name,)] += num_examples
            self._observe(":tensorflow:serving:request_example_counts", (name,), num_examples)

    def observe_queuing(self, thread_pool_name, seconds):
        """Notes how long one request waited for its batch to run.

        Args:
            thread_pool_name: of the threads that run batches.
            seconds: in the queue.
        """
        with self._lock:
            self._observe(":tensorflow:serving:batching_session:queuing_latency", (thread_pool_name,), seconds * 1e6)

    def count_batch(self):
        """Counts one batch."""
        with self._lock:
            self._counts[":tensorflow:serving:batching_session:wrapped_run_count"][()] += 1

    def count_load(self, path, is_loaded, warmup_seconds=None):
        """Counts one attempt to load a version.

        Args:
            path: folder of the version.
            is_loaded: whether it can be served.
            warmup_seconds: time of the warm-up; None if it was not reached.
        """
        with self._lock:
            self._counts[":tensorflow:cc:saved_model:load_attempt_count"][str(path), "success" if is_loaded else "fail"] += 1
            if warmup_seconds is not None:
                status = "OK" if is_loaded else "INVALID_ARGUMENT"
                self._observe(":tensorflow:serving:model_warmup_latency", (str(path), status), warmup_seconds * 1e6)

    def collect(self):
        """All metrics, as Prometheus' registry wants them.

        Returns:
            List of `prometheus_client.Metric`.
        """
        with self._lock:
            return [*map(self._counter, _COUNTERS), *map(self._histogram, _HISTOGRAMS)]

    def page(self):
        """All metrics as text.

        Returns:
            bytes in Prometheus' format.
        """
        registry = CollectorRegistry()
        registry.register(self)
        lines = generate_latest(registry).splitlines(keepends=True)
        # The library ends the names of counters in _total, in what says their type only; TF Serving does not.
        return b"".join(line.replace(b"_total counter", b" counter") if line.startswith(b"# TYPE") else line for line in lines)

    def _known(self, name):
        return name if self._known_names_fn is None or name in self._known_names_fn() else ""

    def _observe(self, name, labels, value):
        bounds = _HISTOGRAMS[name][2]
        histogram = self._histograms[name].get(labels)
        if histogram is None:
            histogram = self._histograms[name][labels] = _Histogram(len(bounds))
        histogram.counts[bisect.bisect_left(bounds, value)] += 1
        histogram.sum += value

    def _counter(self, name):
        help_text, label_names = _COUNTERS[name]
        metric = Metric(name, help_text, "counter")
        for labels, count in self._counts[name].items():
            metric.add_sample(name, dict(zip(label_names, labels, strict=True)), count)
        return metric

    def _histogram(self, name):
        help_text, label_names, bounds = _HISTOGRAMS[name]
        family = HistogramMetricFamily(name, help_text, labels=label_names)
        for labels, histogram in self._histograms[name].items():
            limits = [*(f"{bound:g}" for bound in bounds), "+Inf"]
            buckets = list(zip(limits, itertools.accumulate(histogram.counts), strict=True))
            family.add_metric(labels, buckets, histogram.sum)
        return family
