"""The ranker service over sockets, behind it model servers whose every answer is known."""

import math
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.errors import ExposureLogError, ListenError
from serving.experiments.split import TrafficSplit
from serving.features.sqlite_store import publish_to_sqlite
from serving.protos import ranker_pb2, ranker_pb2_grpc
from serving.ranker.messages import value_message
from tests.conformance.redis_server import running_redis
from tests.conformance.test_feature_stores import CONFIG as FEATURES
from tests.conformance.test_feature_stores import ITEMS, publication
from tests.unit.serving.certificates import Authority
from tests.unit.serving.fake_model_server import FakeModelServer, predicted
from tests.unit.serving.ranker_calls import ITEM_IDS, ask, check_items, logged, ranked_by_hand, started_ranker, status_of

VERSIONS = {None: 7, "stable": 6, "canary": 8}


@pytest.fixture
def models():
    servers = [FakeModelServer(dict(VERSIONS)).start() for _ in range(2)]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def serve(tmp_path, models):
    """Starts a ranker service and connects to it; keys are those of `serving`."""
    started = []

    def start(content=None, **keys):
        server, start.port = started_ranker(tmp_path, [model.address for model in models], content, **keys)
        channel = grpc.insecure_channel(f"127.0.0.1:{start.port}")
        started.append((server, channel))
        return server, ranker_pb2_grpc.RankerStub(channel)

    yield start
    for server, channel in started:
        channel.close()
        server.stop(0)


def test_an_answer_is_the_blend_of_the_models_predictions_and_is_logged(serve, tmp_path):
    server, stub = serve(context={"surface": "feed"})
    response = ask(stub, candidates=[*ITEM_IDS, "unheard"], k=3, request_id="asked", context={"hour": 7})
    check_items(response.items, ranked_by_hand(7, "u1", [*ITEM_IDS, "unheard"])[:3])
    assert {item.item_id: item.is_known for item in response.items} == {
        item.item_id: item.item_id in ITEM_IDS for item in response.items
    }
    assert (response.request_id, response.arm, response.model_version) == ("asked", "default", 7)
    assert (response.features_version, response.is_known_user, response.num_unknown_items) == (publication().version, True, 1)
    assert (response.is_degraded, list(response.degradations)) == (False, [])
    rows = logged(tmp_path, server)["asked"]
    assert [row["item_id"] for row in rows] == [item.item_id for item in response.items]
    assert [row["position"] for row in rows] == [1, 2, 3]
    for row, item in zip(rows, response.items, strict=True):
        assert (row["surface"], row["hour"], row["user_id"], row["arm"]) == ("feed", 7, "u1", "default")
        assert (row["model_version"], row["features_version"]) == ("7", publication().version)
        assert (row["predicted_click"], row["score"], row["propensity"]) == (item.click, item.score, 1.0)
    assert server.answering.counts() == {"answered": 1, "unknown_users": 0, "unknown_items": 1}


def test_a_request_may_override_features_and_name_a_set(serve):
    _, stub = serve()
    named = ranker_pb2.ValueByItem(values={"i1": value_message(60.0), "i2": value_message(None)})
    response = ask(stub, candidates=["i1", "i2", "i3"], features_by_item={"age": named})
    ages = {"i1": 60.0, "i2": 20.0, "i3": 30.5}
    wanted = [ranked_by_hand(7, "u1", [item_id], age)[0] for item_id, age in ages.items()]
    check_items(response.items, sorted(wanted, key=lambda row: -row[-1]))
    check_items(ask(stub, features={"age": 55.0}).items, ranked_by_hand(7, "u1", ITEM_IDS, 55.0))
    check_items(ask(stub, candidates=(), candidate_set="by_a").items, ranked_by_hand(7, "u1", ["i4", "i1"]))
    check_items(ask(stub, user_id="nobody").items, ranked_by_hand(7, "nobody", ITEM_IDS, 20.0))


def test_answers_without_a_name_get_different_ones(serve, tmp_path):
    server, stub = serve()
    names = {ask(stub).request_id for _ in range(5)}
    assert len(names) == 5
    assert set(logged(tmp_path, server)) == names


def test_large_sets_come_in_a_stream(serve, tmp_path):
    server, stub = serve(max_candidates=7)
    item_ids = [f"x{number}" for number in range(40)]
    request = ranker_pb2.RankRequest(user_id="u1", candidates=item_ids, request_id="many", k=25)
    responses = list(stub.RankStream(request, timeout=5.0))
    assert [len(response.items) for response in responses] == [7, 7, 7, 4]
    check_items([item for response in responses for item in response.items], ranked_by_hand(7, "u1", item_ids)[:25])
    assert {(response.request_id, response.num_unknown_items) for response in responses} == {("many", 40)}
    assert len(logged(tmp_path, server)["many"]) == 25
    assert status_of(lambda: stub.Rank(request, timeout=5.0)) == (
        "INVALID_ARGUMENT",
        "candidates must be at most serving.max_candidates=7 items. Received: 40. Name fewer, or raise the limit",
    )


def test_arms_get_their_model_and_their_blend(serve, tmp_path):
    experiment = {"salt": "s", "ramp": 0.7, "weights": {"control": 1, "clicks": 1}}
    arms = {
        "clicks": {"label": "canary", "blend": {"watch_weight": 0, "satisfaction_weight": 0}},
        "control": {"label": "stable"},
    }
    server, stub = serve(ranker={"experiment": experiment, "arms": arms})
    split = TrafficSplit(server.answering._config.ranker.experiment)
    seen = set()
    for number in range(30):
        user_id = f"user {number}"
        arm = split.arm(user_id)
        response = ask(stub, user_id=user_id, request_id=user_id)
        assert (response.arm, response.model_version) == (arm, {"control": 6, "clicks": 8, "default": 7}[arm])
        if arm == "clicks":
            clicks = {item_id: predicted(8, user_id, item_id)[0] for item_id in ITEM_IDS}
            assert [item.item_id for item in response.items] == sorted(clicks, key=lambda item_id: -clicks[item_id])
            assert [item.score for item in response.items] == [item.click for item in response.items]
        seen.add(arm)
    assert seen == {"control", "clicks", "default"}
    assert {name: rows[0]["arm"] for name, rows in logged(tmp_path, server).items()} == {
        f"user {number}": split.arm(f"user {number}") for number in range(30)
    }


def test_duration_and_diversity_of_the_blend(serve):
    duration = {"column": "num_likes", "durations": [1, 3], "usual_watch_seconds": [10, 1000], "strength": 1}
    blend = {"click_weight": 0, "satisfaction_weight": 0, "watch_weight": 1, "duration": duration}
    _, stub = serve(blend=blend | {"diversity": {"column": "author_id", "relevance": 0.01}})
    response = ask(stub)
    likes = dict(zip(ITEM_IDS, ITEMS["num_likes"], strict=True))
    for item in response.items:
        usual = {1: 11, 3: 1001, None: 1 + item.watch_seconds}[likes[item.item_id]]
        assert item.score == pytest.approx((1 + item.watch_seconds) / usual, rel=1e-9)
    # Author a has two items; so little relevance puts the second of them last.
    best_of_a = min(("i1", "i4"), key=lambda item_id: [item.item_id for item in response.items].index(item_id))
    assert {response.items[-1].item_id, best_of_a} == {"i1", "i4"}


def test_a_replica_that_fails_or_hangs_costs_no_answer(serve, models):
    server, stub = serve(ranker={"attempt_ms": 200, "breaker_seconds": 60})
    models[0].failing = dict.fromkeys(VERSIONS, "UNAVAILABLE")
    for _ in range(6):
        assert not ask(stub).is_degraded
    models[0].failing = {}
    models[1].may_answer.clear()
    assert not ask(stub, request_id="one").is_degraded
    assert not ask(stub, request_id="two").is_degraded
    models[1].may_answer.set()
    assert server._replicas.num_retries > 0


def test_a_backend_that_was_killed_is_found_again(serve, models, wait_until):
    _, stub = serve(ranker={"breaker_seconds": 0.05})
    assert ask(stub).model_version == 7
    for model in models:
        model.stop()
    assert list(ask(stub).degradations) == [ranker_pb2.POPULARITY]
    for model in models:
        model.start()
    wait_until(lambda: not ask(stub).is_degraded)


def test_fallbacks_are_declared_and_marked(serve, models, tmp_path):
    server, stub = serve(ranker={"fallback_label": "stable"})
    for model in models:
        model.failing = {None: "INTERNAL"}
    response = ask(stub, request_id="other label")
    assert (response.is_degraded, list(response.degradations), response.model_version) == (True, [ranker_pb2.OTHER_LABEL], 6)
    check_items(response.items, ranked_by_hand(6, "u1", ITEM_IDS))
    for model in models:
        model.failing = dict.fromkeys(VERSIONS, "INTERNAL")
    response = ask(stub, request_id="popularity", candidates=["x", *ITEM_IDS])
    assert (list(response.degradations), response.model_version) == ([ranker_pb2.POPULARITY], 0)
    assert [item.item_id for item in response.items] == ["i3", "i4", "i1", "i2", "x"]
    assert all(math.isnan(value) for item in response.items for value in (item.click, item.watch_seconds, item.score))
    rows = logged(tmp_path, server)
    assert [rows[name][0]["is_degraded"] for name in ("other label", "popularity")] == [True, True]
    assert (rows["popularity"][0]["model_version"], rows["popularity"][0]["predicted_click"]) == ("", None)
    counts = server.answering.counts()
    assert (counts["OTHER_LABEL"], counts["POPULARITY"], counts["answered"]) == (1, 1, 2)


def test_predictions_that_are_no_numbers_are_no_answer(serve, models):
    _, stub = serve(ranker={"fallback_label": "stable"})
    for model in models:
        model.outputs = {"click": [0.5, math.nan, 0.5, 0.5]}
    assert list(ask(stub).degradations) == [ranker_pb2.POPULARITY]


def test_without_fallbacks_failures_are_told(serve, models):
    _, stub = serve(ranker={"popularity_fallback": False, "breaker_failures": 100})
    for model in models:
        model.failing = {None: "UNAVAILABLE"}
    status, details = status_of(lambda: ask(stub))
    assert status == "UNAVAILABLE"
    assert details.startswith("a model server must answer at 127.0.0.1:")
    # Neither was it the client that cancelled, nor is a defect of the model server an unknown one of the ranker.
    for failure, told in (("CANCELLED", "UNAVAILABLE"), ("UNKNOWN", "INTERNAL"), ("NOT_FOUND", "NOT_FOUND")):
        for model in models:
            model.failing = {None: failure}
        assert status_of(lambda: ask(stub))[0] == told
    for model in models:
        model.failing = {}
        model.outputs = {"click": [math.inf] * 4}
    assert status_of(lambda: ask(stub))[0] == "INTERNAL"


def test_all_calls_to_a_slow_replica_take_no_more_than_its_share(serve, models):
    """The first request asks twice, for the form of the version and for predictions."""
    _, stub = serve(ranker={"attempt_ms": 400, "popularity_fallback": False})
    models[0].pause_seconds = 0.3
    assert not ask(stub).is_degraded
    assert models[1].num_calls == 1


def test_slow_models_give_way_to_popularity_within_the_deadline(serve, models):
    _, stub = serve()
    ask(stub)
    for model in models:
        model.may_answer.clear()
    started = time.monotonic()
    response = ask(stub, deadline_ms=400)
    assert time.monotonic() - started < 2.0
    assert list(response.degradations) == [ranker_pb2.POPULARITY]


def test_a_feature_store_that_dies_serves_unknown_users(serve, tmp_path):
    from serving.features.config import FeaturesConfig
    from serving.features.redis_store import publish_to_redis

    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as redis_server:
        keys = {"store": "redis", "redis_url": redis_server.url}
        publish_to_redis(publication(), FeaturesConfig.model_validate(FEATURES.model_dump() | keys))
        _, stub = serve(features=keys)
        assert ask(stub).is_known_user
        redis_server.kill()
        response = ask(stub)
    assert (list(response.degradations), response.is_known_user) == ([ranker_pb2.UNKNOWN_USER], False)
    check_items(response.items, ranked_by_hand(7, "u1", ITEM_IDS, 20.0))


def test_new_features_are_used_from_one_request_to_the_next(serve, tmp_path, wait_until):
    _, stub = serve()
    users = {name: values[:] for name, values in publication().users.to_pydict().items()}
    users["age"][0] = 99.0
    publish_to_sqlite(publication(publication().version + 1, users), tmp_path / "features.sqlite")
    wait_until(lambda: ask(stub).features_version == publication().version + 1)
    check_items(ask(stub).items, ranked_by_hand(7, "u1", ITEM_IDS, 99.0))


def test_wrong_requests_are_told_and_not_logged(serve, tmp_path):
    server, stub = serve(max_candidates=10)
    for keys, message in (
        ({"candidates": ()}, "either candidates or candidate_set must be given. Received: 0 candidates and candidate_set=''"),
        ({"candidate_set": "by_a"}, "either candidates or candidate_set must be given. Received: 4 candidates and"),
        ({"candidates": (), "candidate_set": "x"}, "candidate_set must be one of .* (by_a, best, three). Received: x"),
        ({"candidates": ["a", "a"]}, "candidates must be different items. Received twice or more: a"),
        ({"candidates": list(map(str, range(11)))}, "candidates must be at most serving.max_candidates=10 items"),
        ({"user_id": ""}, "user_id must be given. Received: ''"),
        ({"candidates": ["a", ""]}, "candidates must have ids. Received: ''"),
        ({"k": -1}, "k must not be negative. Received: -1"),
        ({"deadline_ms": -1}, "deadline_ms must not be negative. Received: -1"),
        ({"features": {"age": 1e39}}, "feature age must hold finite numbers of 32 bits. Received: 1e+39"),
        ({"features": {"age": math.nan}}, "feature age must hold finite numbers of 32 bits. Received: nan"),
        ({"features": {"user_history": [1.0, math.inf]}}, "feature user_history must hold finite numbers of 32 bits"),
        ({"features": {"user_id": "u2"}}, "user_id and item_id must come as ids, not as features"),
        ({"features": {"num_likes": "many"}}, "feature num_likes must be of type int, as likes_bucket follows from it"),
        (
            {"features": {"age": 1.0}, "features_by_item": {"age": ranker_pb2.ValueByItem()}},
            "feature age must be given for all candidates or for some. Received: both",
        ),
    ):
        status, details = status_of(lambda keys=keys: ask(stub, **keys))
        assert status == "INVALID_ARGUMENT"
        parts = message.split(".*")
        assert details.startswith(parts[0]), details
        assert parts[-1] in details
    assert logged(tmp_path, server) == {}
    assert server.answering.counts() == {}


def test_an_answer_that_cannot_be_logged_is_not_given(serve, monkeypatch):
    server, stub = serve()

    def refuse(exposure, timeout_seconds):
        raise ExposureLogError("an answer must be logged before it is given. Received: the disk refuses")

    monkeypatch.setattr(server.exposures, "append", refuse)
    assert status_of(lambda: ask(stub)) == (
        "RESOURCE_EXHAUSTED",
        "an answer must be logged before it is given. Received: the disk refuses",
    )


def test_more_calls_than_can_wait_are_refused_at_once(serve, models):
    _, stub = serve(ranker={"max_workers": 1, "popularity_fallback": False})
    ask(stub)
    for model in models:
        model.may_answer.clear()
    request = ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS)
    calls = [stub.Rank.future(request, timeout=20.0) for _ in range(30)]
    with grpc.insecure_channel(f"127.0.0.1:{serve.port}") as channel:
        healthy = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5.0)
    for model in models:
        model.may_answer.set()
    assert healthy.status == health_pb2.HealthCheckResponse.SERVING
    outcomes = [call.code().name if call.exception() else "OK" for call in calls]
    assert set(outcomes) == {"OK", "RESOURCE_EXHAUSTED"}
    assert outcomes.count("OK") == 8


def test_every_answer_is_logged_under_load_and_at_the_end(serve, tmp_path):
    server, stub = serve(deadline_ms=20_000)
    request = ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS)
    names, failures, stopping = [], set(), threading.Event()

    def keep_asking():
        while not stopping.is_set():
            try:
                names.append(stub.Rank(request, timeout=20.0).request_id)
            except grpc.RpcError as error:
                failures.add(error.code().name)

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(names) < 100:
        stopping.wait(0.01)
    server.stop(5.0)
    stopping.set()
    for thread in threads:
        thread.join()
    assert failures <= {"UNAVAILABLE", "CANCELLED"}
    assert len(set(names)) == len(names)
    assert set(names) == set(logged(tmp_path, server))


def test_health_and_a_port_that_is_taken(serve):
    serve()
    with grpc.insecure_channel(f"127.0.0.1:{serve.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        for name in ("", "smalltowers.ranker.Ranker"):
            status = check(health_pb2.HealthCheckRequest(service=name), timeout=5.0).status
            assert status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(ListenError, match=rf"serving.ranker.port must be an address that is free here. .*:{serve.port}"):
        serve(ranker={"port": serve.port})


def test_a_thousand_random_requests_are_the_offline_ranking(serve):
    _, stub = serve(exposure={"enabled": False})
    random = np.random.default_rng(0)
    for _ in range(1_000):
        user_id = str(random.choice(["u1", "u2", "nobody"]))
        item_ids = [str(each) for each in random.permutation([*ITEM_IDS, "x", "y"])[: random.integers(1, 7)]]
        age = None if random.random() < 0.5 else float(np.float32(random.uniform(10, 90)))
        response = ask(stub, user_id=user_id, candidates=item_ids, features={} if age is None else {"age": age})
        own = {"u1": 30.5}.get(user_id, 20.0)
        check_items(response.items, ranked_by_hand(7, user_id, item_ids, own if age is None else age))


def test_certificates_and_tokens_towards_clients_and_model_servers(serve, models, tmp_path):
    authority = Authority(tmp_path, "authority")
    server_files, client_files = authority.issue("server"), authority.issue("client")
    token_file = tmp_path / "tokens"
    token_file.write_text("# of the ranker\nsecret\n")
    own, key = (path.read_bytes() for path in server_files)
    for model in models:
        model.stop()
        model.port, model.token = 0, "Bearer secret"
        model.start(grpc.ssl_server_credentials([(key, own)], authority.file.read_bytes(), require_client_auth=True))
    certificate, private = (str(path) for path in client_files)
    access = {"ca_file": str(authority.file), "certificate_file": certificate, "key_file": private}
    tls = {"certificate_file": str(server_files[0]), "key_file": str(server_files[1])}
    backends = tuple(model.address for model in models)
    serve(
        ranker={"backends": backends, "access": access | {"token_file": str(token_file)}},
        server={"tls": tls, "token_file": str(token_file)},
    )
    request = ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS)
    with grpc.secure_channel(f"127.0.0.1:{serve.port}", grpc.ssl_channel_credentials(authority.file.read_bytes())) as channel:
        rank = ranker_pb2_grpc.RankerStub(channel).Rank
        response = rank(request, timeout=5.0, metadata=(("authorization", "Bearer secret"),))
        assert not response.is_degraded
        check_items(response.items, ranked_by_hand(7, "u1", ITEM_IDS))
        assert status_of(lambda: rank(request, timeout=5.0))[0] == "UNAUTHENTICATED"
    with grpc.insecure_channel(f"127.0.0.1:{serve.port}") as channel:
        assert status_of(lambda: ranker_pb2_grpc.RankerStub(channel).Rank(request, timeout=5.0))[0] == "UNAVAILABLE"
