"""The files of deploy/tf_serving are read by what they are for: TF Serving's messages, Kubernetes' schemas, our own metrics."""

import itertools
import json
import re
import subprocess
from pathlib import Path
from unittest import mock

import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving.config import ServingConfig
from serving.exposure.log import ExposureCounts
from serving.model_server.config_files import read_batching, read_models, read_text_proto
from serving.model_server.metrics import PATH, ServerMetrics
from serving.model_server.parameter_protos import MonitoringConfig
from serving.ranker.metrics import PATH as RANKER_PATH
from serving.ranker.metrics import RankerMetrics

FOLDER = Path(__file__).parents[3] / "deploy" / "tf_serving"
MANIFESTS = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


def manifest(kind):
    [found] = [each for each in MANIFESTS if each["kind"] == kind]
    return found


def test_models_have_two_versions_and_two_labels():
    [model] = read_models(FOLDER / "models.config")
    assert (model.name, str(model.base_path)) == (ServingConfig().model_name, "/models/ranker")
    assert model.policy.num_latest == 2
    assert set(model.number_by_label) == {"stable", "canary"}


def test_batches_are_no_larger_than_what_is_ranked_at_a_time_needs():
    limits = read_batching(FOLDER / "batching.config")
    assert limits.max_batch_size >= ServingConfig().max_candidates
    assert limits.allowed_batch_sizes[-1] == limits.max_batch_size


def test_metrics_are_where_everyone_looks_for_them():
    monitoring = read_text_proto(FOLDER / "monitoring.config", MonitoringConfig(), "monitoring")
    job, ranker_job = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    annotations = manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert monitoring.prometheus_config.enable
    assert {monitoring.prometheus_config.path, job["metrics_path"], annotations["prometheus.io/path"]} == {PATH}
    [[target]] = [each["targets"] for each in ranker_job["static_configs"]]
    ranker = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["ranker"]
    assert f"--set=serving.ranker.metrics_port={target.split(':')[1]}" in ranker["command"]
    assert ranker_job.get("metrics_path", "/metrics") == RANKER_PATH


def test_the_dashboard_asks_for_metrics_that_there_are():
    answering, replicas, store, exposures = (mock.MagicMock() for _ in range(4))
    answering.counts.return_value, replicas.is_open_by_address.return_value = {}, {"models:8500": False}
    replicas.num_retries = store.num_failed_polls = store.current().version = 0
    exposures.counts.return_value = ExposureCounts(0, 0, 0, 0, 0, 0, None)
    ranker = RankerMetrics(answering, replicas, store, exposures)
    ranker.count_request("Rank", "OK", 0.1)
    known = {metric.name for metric in ServerMetrics().collect()}
    known |= {f"{name}_bucket" for name in known}
    for family in text_string_to_metric_families(ranker.page().decode()):
        known |= {sample.name for sample in family.samples}
    panels = json.loads((FOLDER / "grafana" / "serving.json").read_text())["panels"]
    asked = [re.findall(r":tensorflow[\w:]+|smalltowers_\w+", each["expr"]) for panel in panels for each in panel["targets"]]
    assert all(asked)
    assert set(itertools.chain(*asked)) <= known
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_image_is_pinned_and_copies_what_the_start_reads():
    text = (FOLDER / "Dockerfile").read_text()
    assert re.search(r"^FROM tensorflow/serving:\d+\.\d+\.\d+-gpu$", text, re.MULTILINE)
    named = {Path(name).name for name in re.findall(r"/etc/tf_serving/\S+\.config", (FOLDER / "serve.sh").read_text())}
    copied = set(re.findall(r"\w+\.config", text))
    assert named == copied
    assert all((FOLDER / name).is_file() for name in copied)


@pytest.mark.parametrize(("batching", "more"), [("false", []), ("true", ["--enable_batching=true"])])
def test_the_start_passes_its_flags_on(tmp_path, batching, more):
    server = tmp_path / "tensorflow_model_server"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$TF_XLA_FLAGS" "$@"\n')
    server.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XLA_AUTO_JIT": "1", "GPU_MEMORY_FRACTION": "0.5", "BATCHING": batching}
    command = ["sh", str(FOLDER / "serve.sh"), "--last=1"]
    flags = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert flags[0] == "--tf_xla_auto_jit=1"
    assert "--per_process_gpu_memory_fraction=0.5" in flags
    assert flags[-1] == "--last=1"
    assert [flag for flag in flags if "enable_batching" in flag] == more


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda document: document["kind"])
def test_manifests_follow_the_schemas_of_kubernetes(document):
    kubernetes_validate.validate(document, "1.30", strict=True)


def test_manifests_belong_together():
    deployment, service = manifest("Deployment"), manifest("Service")
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    selectors = [deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"]]
    selectors.append(manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"])
    assert all(selector.items() <= pod["metadata"]["labels"].items() for selector in selectors)
    assert manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {port["name"] for port in container["ports"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes.keys() == {mount["name"] for mount in container["volumeMounts"]}
    claim = volumes["models"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifest("PersistentVolumeClaim")["metadata"]["name"]


def test_the_rankers_image_takes_nothing_of_the_machine_that_builds_it():
    assert "COPY . ." in (FOLDER / "ranker.Dockerfile").read_text()
    ignored = (FOLDER.parents[1] / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", ".venv-tools", "runs"} <= set(ignored)


def test_the_compose_file_has_every_part_and_mounts_files_that_there_are():
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    assert services.keys() == {"tf-serving", "redis", "ranker", "prometheus", "dashboard"}
    mounts = [mount.split(":")[0] for mount in itertools.chain(*(each.get("volumes", ()) for each in services.values()))]
    assert all((FOLDER / mount).exists() for mount in mounts if not mount.startswith("../../runs"))
    assert all(":" in each["image"] for each in services.values() if "image" in each)
    assert services["ranker"]["depends_on"].keys() == {"tf-serving", "redis"}
