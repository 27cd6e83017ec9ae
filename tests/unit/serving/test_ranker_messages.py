import numpy as np
import pydantic
import pytest

from serving.errors import ServerFileError
from serving.exposure.record import ShownItems
from serving.protos import ranker_pb2
from serving.ranker.answering import Answer, Degradation
from serving.ranker.backend import Backend
from serving.ranker.config import BackendAccessConfig
from serving.ranker.messages import response_bytes


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"ca_file": "/nowhere"}, r"serving.ranker.access.ca_file must name a readable file. Received: /nowhere: "),
        ({"token_file": "/nowhere"}, r"serving.ranker.access.token_file must name a readable file. Received: /nowhere: "),
        ({"token_file": "/dev/null"}, r"/dev/null: must hold a token. Received: none"),
    ],
)
def test_files_of_access_that_cannot_be_used_are_named(access, message):
    with pytest.raises(ServerFileError, match=message):
        Backend("127.0.0.1:1", "ranker", 16, BackendAccessConfig(**access))


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"ca_file": "a", "key_file": "b"}, r"certificate_file and key_file must be given together. Received: None and b"),
        ({"server_name": "a"}, r"certificate_file and server_name need ca_file: without it nothing is encrypted"),
    ],
)
def test_access_that_is_not_whole_is_refused(access, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        BackendAccessConfig(**access)


@pytest.mark.parametrize("num_items", [0, 1, 300])
def test_responses_are_protobufs_own_bytes(num_items):
    random = np.random.default_rng(num_items)
    ids = ["", "é" * 100, "x" * 20_000, *(f"i{number}" for number in range(num_items))][:num_items]
    numbers = random.normal(size=(num_items, 4))
    numbers[1:2] = np.nan, np.inf, -np.inf, 0
    known = random.random(num_items) < 0.5
    answer = Answer(
        "r",
        ShownItems(ids, *numbers.T, np.ones(num_items)),
        known,
        "a",
        7,
        42,
        (Degradation.OTHER_LABEL, Degradation.UNKNOWN_USER),
        True,
        3,
    )
    for start, stop in ((0, None), (2, 5), (num_items, None)):
        rows = zip(ids[start:stop], numbers[start:stop], known[start:stop], strict=True)
        wanted = ranker_pb2.RankResponse(
            request_id="r", arm="a", model_version=7, features_version=42, is_degraded=True,
            degradations=["OTHER_LABEL", "UNKNOWN_USER"], is_known_user=True, num_unknown_items=3,
            items=[
                ranker_pb2.RankedItem(item_id=i, click=a, watch_seconds=b, satisfaction=c, score=d, is_known=k)
                for i, (a, b, c, d), k in rows
            ],
        )  # fmt: skip
        content = response_bytes(answer, start, stop)
        # NaN is unlike itself, but its bytes are not.
        assert ranker_pb2.RankResponse.FromString(content).SerializeToString() == wanted.SerializeToString()
