"""Counts and latencies of the ranker service as Prometheus reads them."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from serving.ranker.answering import Degradation

PATH = "/metrics"

_PREFIX = "smalltowers_ranker_"
_SECONDS_BOUNDS = tuple(0.001 * 1.5**step for step in range(20))


class RankerMetrics:
    """What the service counts; to be used from any thread."""

    def __init__(self, answering, replicas, store, exposures=None):
        """Nothing counted yet.

        Args:
            answering: `serving.ranker.answering.Answering`.
            replicas: `serving.ranker.replicas.Replicas`.
            store: `serving.features.store.FeatureStore`.
            exposures: `serving.exposure.log.ExposureLog`; None for no log.
        """
        self._answering, self._replicas, self._store, self._exposures = answering, replicas, store, exposures
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}requests", "Requests by method and gRPC status.", ("method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}request_seconds",
            "From request to answer.",
            ("method",),
            buckets=_SECONDS_BOUNDS,
            registry=self._registry,
        )
        self._registry.register(self)

    def count_request(self, method, status, seconds):
        """Counts one answer.

        Args:
            method: name of the method.
            status: name of the gRPC status.
            seconds: from request to answer.
        """
        self._requests.labels(method, status).inc()
        if status == "OK":
            self._seconds.labels(method).observe(seconds)

    def page(self):
        """All metrics as text.

        Returns:
            bytes in Prometheus' format.
        """
        return generate_latest(self._registry)

    def collect(self):
        """What the parts of the service count themselves, as Prometheus' registry wants it.

        Returns:
            List of `prometheus_client.Metric`.
        """
        counts = self._answering.counts()
        degraded = {kind.name: counts.get(kind.name, 0) for kind in Degradation}
        unknown = {kind: counts.get(f"unknown_{kind}", 0) for kind in ("users", "items")}
        version, num_failed_polls = self._store.current().version, self._store.num_failed_polls
        return [
            _by_label(CounterMetricFamily, "degraded", "Answers that are fallbacks.", "kind", degraded),
            _by_label(CounterMetricFamily, "unknown_ids", "Ids that no table has.", "kind", unknown),
            CounterMetricFamily(f"{_PREFIX}retries", "Questions to another model server.", self._replicas.num_retries),
            _by_label(
                GaugeMetricFamily,
                "breaker_open",
                "1 where a model server is left alone.",
                "address",
                self._replicas.is_open_by_address(),
            ),
            GaugeMetricFamily(f"{_PREFIX}features_version", "Number of the publication.", version),
            CounterMetricFamily(f"{_PREFIX}failed_feature_polls", "Looks for a publication that failed.", num_failed_polls),
            *(() if self._exposures is None else _exposure_metrics(self._exposures.counts())),
        ]


def _by_label(family, name, text, label, value_by_label):
    metric = family(f"{_PREFIX}{name}", text, labels=[label])
    for value, number in value_by_label.items():
        metric.add_metric([value], number)
    return metric


def _exposure_metrics(counts):
    fates = {fate: getattr(counts, fate) for fate in ("appended", "synced", "refused")}
    return (
        _by_label(CounterMetricFamily, "exposures", "Answers in the exposure log.", "fate", fates),
        GaugeMetricFamily(f"{_PREFIX}exposures_waiting", "Answers not yet safe on the disk.", counts.waiting),
        CounterMetricFamily(f"{_PREFIX}exposure_disk_failures", "Attempts that the disk refused.", counts.disk_failures),
    )
