import re
import urllib.error
import urllib.request

import pytest

from serving.metrics_page import MetricsPage
from serving.model_server.metrics import PATH, ServerMetrics


@pytest.fixture
def metrics():
    metrics = ServerMetrics()
    metrics.know_models(lambda: {"ranker"})
    return metrics


def samples(metrics):
    """Value by name and labels of every sample on the page."""
    found = {}
    for line in metrics.page().decode().splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([^{ ]+)(?:{(.*)})? (.+)", line).groups()
            found[(name, *sorted(re.findall(r'(\w+)="(.*?)"', labels or "")))] = float(value)
    return found


def test_requests_are_counted_by_model_and_status(metrics):
    for status in ("OK", "OK", "INVALID_ARGUMENT"):
        metrics.count_request("ranker", "Predict", status, 0.001)
    counted = samples(metrics)
    name = ":tensorflow:serving:request_count"
    assert counted[name, ("model_name", "ranker"), ("status", "OK")] == 2
    assert counted[name, ("model_name", "ranker"), ("status", "INVALID_ARGUMENT")] == 1


def test_names_of_clients_do_not_fill_the_page(metrics):
    for place in range(50):
        metrics.count_request(f"hostile {place}", "Predict", "NOT_FOUND", 0.0)
    named = {key[1][1] for key in samples(metrics) if key[0] == ":tensorflow:serving:request_count"}
    assert named == {""}


def test_latencies_fall_into_tf_servings_buckets(metrics):
    """Bounds of 10 * 1.8 ** step microseconds: 40 lies above 32.4 and below 58.32."""
    metrics.count_request("ranker", "Predict", "OK", 40e-6)
    labels = (("API", "Predict"), ("entrypoint", "GRPC"))
    name, model = ":tensorflow:serving:request_latency", ("model_name", "ranker")
    counted = samples(metrics)
    bounds = {float(dict(key[1:])["le"]): value for key, value in counted.items() if key[0] == f"{name}_bucket"}
    assert {bound for bound in bounds if bound < 40} == {10, 18, 32.4}
    assert all(value == (bound >= 40) for bound, value in bounds.items())
    assert len(bounds) == 34
    assert counted[(f"{name}_sum", *labels, model)] == pytest.approx(40)
    assert counted[(f"{name}_count", *labels, model)] == 1


def test_types_are_named_as_tf_serving_names_them(metrics):
    lines = metrics.page().decode().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert "# TYPE :tensorflow:serving:request_latency histogram" in lines
    assert "# TYPE :tensorflow:serving:request_example_count_total counter" in lines


def test_examples_batches_and_loads_are_counted(metrics):
    metrics.count_examples("ranker", 3)
    metrics.count_batch()
    metrics.observe_queuing("batch_threads", 0.5)
    metrics.observe_runtime("ranker", "Predict", 0.5)
    metrics.count_load("/models/1", True, 0.1)
    metrics.count_load("/models/2", False)
    counted = samples(metrics)
    assert counted[":tensorflow:serving:request_example_count_total", ("model", "ranker")] == 3
    assert counted[(":tensorflow:serving:batching_session:wrapped_run_count",)] == 1
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert counted[loads, ("model_path", "/models/2"), ("status", "fail")] == 1
    assert counted[loads, ("model_path", "/models/1"), ("status", "success")] == 1
    warmups = ":tensorflow:serving:model_warmup_latency_count"
    assert counted[warmups, ("model_path", "/models/1"), ("status", "OK")] == 1


def test_the_page_has_tf_servings_path_and_no_other(metrics):
    page = MetricsPage(metrics, PATH, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{page.port}"
    with urllib.request.urlopen(f"{address}{PATH}", timeout=10) as response:
        assert response.headers["Content-Type"] == "text/plain"
        assert response.read() == metrics.page()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/", timeout=10)
    page.close()
