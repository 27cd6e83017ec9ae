"""What a client may send a ranker to do harm: it gets a status, the service lives, and its memory comes back."""

import contextlib
import gc
import math
import socket

import grpc
import numpy as np
import psutil
import pytest

from serving.config import ServingConfig
from serving.model_server.config import ModelServerConfig
from serving.model_server.server import ModelServer
from serving.protos import ranker_pb2, ranker_pb2_grpc
from serving.ranker.messages import value_message
from tests.conformance.tiny_model import expected, write_version
from tests.unit.serving.certificates import Authority
from tests.unit.serving.model_server.test_hostile import mutations
from tests.unit.serving.ranker_calls import ITEM_IDS, ask, started_ranker, status_of
from tests.unit.serving.ranker_load import logged_rows

RANK, STREAM = "/smalltowers.ranker.Ranker/Rank", "/smalltowers.ranker.Ranker/RankStream"
MIB = 1 << 20
# A diversity and a duration, so that features of requests reach the blend too.
BLEND = {
    "duration": {"column": "num_likes", "durations": [1, 3], "usual_watch_seconds": [10, 20]},
    "diversity": {"column": "author_id", "relevance": 0.9},
}


@pytest.fixture(scope="module", params=["columns", "examples", "in one process"])
def asked(request, tmp_path_factory):
    """Whom the ranker asks: a model that takes columns, one from before that, and one without a socket between."""
    folder = tmp_path_factory.mktemp("models")
    write_version(folder, 2, has_rank=request.param != "examples")
    config = ServingConfig(port=0, max_message_mib=4, server=ModelServerConfig(settle_seconds=0, max_rows=1_000))
    server = ModelServer(config, folder)
    address = f"127.0.0.1:{server.start()}"
    yield {"models": server.local} if request.param == "in one process" else {"backends": [address]}
    server.stop(grace_seconds=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranker")


@pytest.fixture(scope="module")
def ranker(asked, folder):
    """Server and address."""
    ranker = {"max_workers": 4, "max_request_items": 5_000}
    exposure = {"format": "parquet", "segment_seconds": 0.2}
    keys = {"ranker": ranker, "exposure": exposure, "blend": BLEND, "max_message_mib": 4, "max_candidates": 500}
    server, port = started_ranker(folder, deadline_ms=20_000, **asked, **keys)
    yield server, f"127.0.0.1:{port}"
    server.stop(0)


@pytest.fixture
def channel(ranker):
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(ranker[1], options=options) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return ranker_pb2_grpc.RankerStub(channel)


@pytest.fixture(autouse=True)
def still_answers(request, caplog):
    """Whatever a test sends, an honest request is answered afterwards, and nothing unforeseen stands in the log."""
    yield
    if "ranker" not in request.fixturenames:
        return
    server, address = request.getfixturevalue("ranker")
    with grpc.insecure_channel(address) as channel:
        response = ask(ranker_pb2_grpc.RankerStub(channel), candidates=["i1"])
    wanted = expected(2, "u1", "i1", 30.5)
    [item] = response.items
    assert (item.click, item.watch_seconds, response.is_degraded) == (
        pytest.approx(wanted["click"]),
        pytest.approx(wanted["watch_seconds"]),
        False,
    )
    assert [record for record in caplog.get_records("call") if record.exc_info] == []
    assert server.exposures.counts().disk_error is None


def sent(channel, content, method=RANK):
    """Status and details with which bytes are answered."""
    call = channel.unary_unary if method == RANK else channel.unary_stream
    try:
        response = call(method)(content, timeout=20)
        if method == STREAM:
            list(response)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def values(**columns):
    return {name: value_message(value) for name, value in columns.items()}


def rich_request():
    return ranker_pb2.RankRequest(
        user_id="u1",
        candidates=ITEM_IDS,
        context=values(surface="feed", hour=7, position=3, tags=["a", "é"]),
        features=values(age=33.5, num_likes=3, user_history=[1.0, 0.5], country="de"),
        features_by_item={"author_id": ranker_pb2.ValueByItem(values=values(i1="b", i2=None))},
        k=3,
        request_id="mutated",
        deadline_ms=15_000,
    )


@pytest.mark.parametrize(("method", "seed"), [(RANK, 0), (STREAM, 1)])
def test_bytes_of_all_kinds_are_answered_with_a_status(channel, method, seed):
    outcomes = [sent(channel, each, method) for each in mutations(rich_request().SerializeToString(), 200, seed)]
    statuses = {status for status, _ in outcomes}
    # INTERNAL is gRPC's own answer to bytes that are no message of the method's type.
    assert statuses <= {"OK", "INVALID_ARGUMENT", "INTERNAL"}
    assert "OK" in statuses
    assert "INVALID_ARGUMENT" in statuses
    assert {details for status, details in outcomes if status == "INTERNAL"} <= {"Exception deserializing request!"}


@pytest.mark.parametrize("seed", range(4))
def test_values_of_all_kinds_in_all_columns_are_answered_with_a_status(stub, ranker, seed):
    """Columns of every table, of the context, of the log and of nothing, with values of every type and length."""
    random = np.random.default_rng(seed)
    names = ["age", "num_likes", "user_history", "author_id", "likes_bucket", "surface", "last_items", "item_age_hours"]
    names += ["position", "impression_id", "score", "features_version", "nothing", "", "é\n\0", "weight"]
    strange = ["", "x" * 3_000, "\0", "\u2028", "5", "nan", 0, -1, (1 << 63) - 1, -(1 << 63), 1e-45, 3e38, -0.0, None]
    strange += [[], ["a"], ["a", "b", "c"], [1.0], [1.0, 2.0], [0.5] * 300]
    statuses = set()
    for _ in range(100):
        chosen = [str(each) for each in random.choice(names, size=3, replace=False)]
        told = [value_message(strange[random.integers(len(strange))]) for _ in chosen]
        by_item = ranker_pb2.ValueByItem(values={"i2": told[2], "stranger": told[0]})
        request = ranker_pb2.RankRequest(
            user_id=str(random.choice(["u1", "nobody", "\0", "🙂"])),
            candidates=["i1", "i2", "", "x\0"][: random.integers(1, 5)],
            context={chosen[0]: told[0]},
            features={chosen[1]: told[1]},
            features_by_item={chosen[2]: by_item},
        )
        status, details = sent_request(stub, request)
        assert (status, details) == ("OK", "") or (status == "INVALID_ARGUMENT" and 0 < len(details) <= 500)
        statuses.add(status)
    assert statuses == {"OK", "INVALID_ARGUMENT"}


def sent_request(stub, request):
    try:
        stub.Rank(request, timeout=20)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"features": {"age": math.nan}}, "feature age must hold finite numbers of 32 bits. Received: nan"),
        ({"features": {"age": -math.inf}}, "feature age must hold finite numbers of 32 bits. Received: -inf"),
        ({"features": {"user_history": [1.0, 1e300]}}, "feature user_history must hold finite numbers of 32 bits"),
        ({"context": {"hour": math.inf}}, "feature hour must hold finite numbers of 32 bits. Received: inf"),
        ({"features": {"num_likes": [1.0, 2.0]}}, "feature num_likes must be "),
        ({"features": {"author_id": ["a", "b"]}}, "feature author_id must be one value, as "),
        ({"candidates": [], "candidate_set": "x" * 9_000}, "candidate_set must be one of serving.features.candidate_sets"),
        ({"candidates": ["x" * 9_000] * 2}, "candidates must be different items. Received twice or more: xxx"),
        (
            {"candidates": [f"x{number}" for number in range(501)]},
            "candidates must be at most serving.max_candidates=500 items",
        ),
        ({"user_id": "u" * 5_000}, "user_id, request_id and context must take at most 4096 bytes together, as they stand in"),
        (
            {"request_id": "r" * 5_000},
            "user_id, request_id and context must take at most 4096 bytes together, as they stand in",
        ),
        ({"context": {"hour": "h" * MIB}}, "user_id, request_id and context must take at most 4096 bytes together, as they"),
        (
            {"context": {"h" * MIB: 7}},
            "user_id, request_id and context must take at most 4096 bytes together, as they stand in",
        ),
        (
            {"features": {"age": "a" * MIB}},
            "features for all candidates must take at most 16384 bytes together. Received: 1048",
        ),
        ({"features": {"last_items": [""] * 300_000}}, "features for all candidates must take at most 16384 bytes together"),
        ({"k": -(1 << 31)}, "k must not be negative. Received: -2147483648"),
        ({"deadline_ms": -(1 << 31)}, "deadline_ms must not be negative. Received: -2147483648"),
        ({"user_id": ""}, "user_id must be given. Received: ''"),
        ({"candidates": ["i1", ""]}, "candidates must have ids. Received: ''"),
    ],
)
def test_what_cannot_be_is_named(stub, keys, message):
    status, details = status_of(lambda: ask(stub, **keys))
    assert status == "INVALID_ARGUMENT"
    assert details.startswith(message)
    assert len(details) <= 500


def test_a_sequence_of_one_item_may_not_lengthen_those_of_all(stub):
    by_item = {"last_items": ranker_pb2.ValueByItem(values={"i1": value_message([""] * 100_000)})}
    status, details = status_of(lambda: ask(stub, features_by_item=by_item))
    assert (status, details) == (
        "INVALID_ARGUMENT",
        "feature last_items must take at most 16384 bytes an item. Received: 200004",
    )


def test_huge_numbers_of_a_request_are_taken(stub):
    response = ask(stub, k=(1 << 31) - 1, deadline_ms=(1 << 31) - 1)
    assert len(response.items) == len(ITEM_IDS)


def test_a_million_candidates_are_refused_and_thousands_streamed(channel, stub):
    many = ranker_pb2.RankRequest(user_id="u1", candidates=map(str, range(500_000)))
    statuses = {sent(channel, many.SerializeToString(), method)[0] for method in (RANK, STREAM)}
    many.candidates.extend(map(str, range(500_000, 1_000_000)))
    assert many.ByteSize() > 4 * MIB
    assert statuses == {"INVALID_ARGUMENT"}
    assert {sent(channel, many.SerializeToString(), method)[0] for method in (RANK, STREAM)} == {"RESOURCE_EXHAUSTED"}
    some = ranker_pb2.RankRequest(user_id="u1", candidates=map(str, range(5_000)))
    assert sum(len(response.items) for response in stub.RankStream(some, timeout=30)) == 5_000


def test_a_message_as_long_as_may_be_is_answered_and_logged(ranker, stub):
    """Its answer is longer than itself."""
    request = ranker_pb2.RankRequest(user_id="u1", request_id="long", candidates=[f"{n}{'x' * 8_300}" for n in range(500)])
    assert 0 < 4 * MIB - request.ByteSize() < 100_000
    response = stub.Rank(request, timeout=20)
    assert len(response.items) == 500


def test_bytes_that_are_no_text_are_no_message(channel):
    content = ranker_pb2.RankRequest(user_id="u1", candidates=["i1", "XX"]).SerializeToString()
    for other in (b"\xff\xfe", b"\xc3\x28", b"\xed\xa0"):
        for method in (RANK, STREAM):
            status, details = sent(channel, content.replace(b"XX", other), method)
            assert (status, details) == ("INTERNAL", "Exception deserializing request!")


def test_memory_is_back_after_a_flood(channel):
    process = psutil.Process()

    def flood():
        ids = [f"{number}{'é' * 2_000}" for number in range(900)]
        own = {"author_id": ranker_pb2.ValueByItem(values={item_id: value_message("y" * 900) for item_id in ids})}
        requests = [
            ranker_pb2.RankRequest(user_id="u1", candidates=ids[:490], features_by_item=own),
            ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS, context=values(**{"n" * MIB: "v" * MIB})),
            ranker_pb2.RankRequest(user_id="u1", candidates=ids, features=values(surface="s" * 16_000)),
        ]
        for number in range(3):
            for request in requests:
                request.request_id = f"flood {number}"
                sent(channel, request.SerializeToString())
                sent(channel, request.SerializeToString(), STREAM)
            sent(channel, b"\xff" * (3 * MIB))
        gc.collect()

    flood()
    before = process.memory_info().rss
    flood()
    assert process.memory_info().rss - before < 96 * MIB


def test_strange_names_and_ids_are_remembered_nowhere(ranker, stub):
    server, _ = ranker
    ask(stub, features={"strange": 1})
    encoders = server.answering._reading.encoders
    held = [encoders.columns._values_by_column, encoders.columns._array_by_column, encoders.examples._item_by_id]
    held += [server.answering._reading.item_columns._values_by_column, server.answering.counts()]
    sizes = [len(each) for each in held]
    for number in range(50):
        ask(stub, user_id=f"stranger {number}", candidates=[f"strange {number}"], features={f"strange {number}": number})
    held[-1] = server.answering.counts()
    assert [len(each) for each in held] == sizes


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_a_context_of_other_types_and_names_does_not_stop_the_log(asked, tmp_path, format_):
    server, port = started_ranker(tmp_path, **asked, exposure={"format": format_})
    contexts = [{"hour": 7}, {"hour": "seven"}, {"hour": [7.0]}, {"hour": None}, {"hour": ["a"]}, {"day": "x"}]
    contexts += [{"position": "first", "impression_id": 5, "score": "s", "served_features": 3}]
    contexts += [{"surface": 5}, {"surface": "feed", "hour": 2.5, "note": "\u2028\n"}, {"arm": "mine", "user": 1}]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ranker_pb2_grpc.RankerStub(channel)
        given = [
            number
            for number, context in enumerate(contexts)
            if sent_request(
                stub,
                ranker_pb2.RankRequest(user_id="u1", candidates=ITEM_IDS, request_id=str(number), context=values(**context)),
            )[0]
            == "OK"
        ]
    server.stop()
    rows = logged_rows(tmp_path / "exposures")
    assert {row["request_id"] for row in rows} == {str(number) for number in given}
    assert len(rows) == len(ITEM_IDS) * len(given)
    assert len(given) >= len(contexts) - 1
    told = {row["request_id"]: row for row in rows if row["position"] == 1}
    assert (told["6"]["impression_id"], told["9"]["arm"], told["6"]["score"] > 0) == ("6:1", "default", True)
    hours = [told[str(number)].get("hour") for number in (0, 1, 3, 8)]
    assert hours == ([7, "seven", None, 2.5] if format_ == "jsonl" else ["7", "seven", None, "2.5"])


def test_of_a_long_answer_the_features_of_some_items_are_logged(asked, tmp_path):
    server, port = started_ranker(tmp_path, **asked, max_candidates=7, exposure={"feature_share": 1})
    request = ranker_pb2.RankRequest(user_id="u1", candidates=map(str, range(40)), features=values(age=33.5))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert len(list(ranker_pb2_grpc.RankerStub(channel).RankStream(request, timeout=20))) == 6
    server.stop()
    rows = logged_rows(tmp_path / "exposures")
    assert [bool(row.get("served_features")) for row in rows] == [True, False] * 20


def test_tokens_certificates_and_plain_text(asked, tmp_path):
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("server")
    (tmp_path / "tokens").write_text("secret\n")
    server = {"tls": {"certificate_file": str(certificate), "key_file": str(key)}, "token_file": str(tmp_path / "tokens")}
    ranker, port = started_ranker(tmp_path, **asked, server=server)
    request, address = ranker_pb2.RankRequest(user_id="u1", candidates=["i1"]), f"127.0.0.1:{port}"
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
    try:
        with grpc.secure_channel(address, credentials) as channel:
            rank, stream = (getattr(ranker_pb2_grpc.RankerStub(channel), name) for name in ("Rank", "RankStream"))
            for wrong in ((), (("authorization", "Bearer wrong"),), (("authorization", "secret"),)):
                assert status_of(lambda wrong=wrong: rank(request, timeout=10, metadata=wrong))[0] == "UNAUTHENTICATED"
                assert status_of(lambda wrong=wrong: list(stream(request, timeout=10, metadata=wrong)))[0] == "UNAUTHENTICATED"
            with grpc.insecure_channel(address) as plain:
                assert status_of(lambda: ranker_pb2_grpc.RankerStub(plain).Rank(request, timeout=10))[0] == "UNAVAILABLE"
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 100)
            right = (("authorization", "Bearer secret"),)
            assert rank(request, timeout=10, metadata=right).items[0].item_id == "i1"
    finally:
        ranker.stop(0)


def test_certificates_shown_to_a_plain_port_are_refused(ranker):
    with grpc.secure_channel(ranker[1], grpc.ssl_channel_credentials()) as channel:
        request = ranker_pb2.RankRequest(user_id="u1", candidates=["i1"])
        assert status_of(lambda: ranker_pb2_grpc.RankerStub(channel).Rank(request, timeout=10))[0] == "UNAVAILABLE"


def test_connections_that_say_nothing_or_nonsense_are_no_harm(ranker):
    host, port = ranker[1].split(":")
    random = np.random.default_rng(0)
    with contextlib.ExitStack() as stack:
        for number in range(50):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            if number % 2:
                connection.sendall(random.bytes(5_000))
