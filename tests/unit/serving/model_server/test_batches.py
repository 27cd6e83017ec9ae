import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import RequestError
from serving.model_server.batches import merged, num_rows, padded_size, row_shapes, split

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def requests_of(sizes):
    """Two inputs a request, (rows, 2) numbers and (rows,) strings, in which every row tells where it comes from."""
    return [
        [
            np.array([[place, row] for row in range(size)], np.float32).reshape(size, 2),
            np.array([f"{place}/{row}".encode() for row in range(size)], object),
        ]
        for place, size in enumerate(sizes)
    ]


@settings(deadline=None)
@given(sizes=SIZES, missing=st.integers(0, 4))
def test_what_is_put_together_comes_apart_as_it_was(sizes, missing):
    requests, size = requests_of(sizes), sum(sizes) + (missing if any(sizes) else 0)
    inputs = merged(requests, size, has_padding=False)
    assert [len(array) for array in inputs] == [size, size]
    for request, parts in zip(requests, split(inputs, sizes, size), strict=True):
        for before, after in zip(request, parts, strict=True):
            np.testing.assert_array_equal(before, after)


def test_missing_rows_are_the_first_of_the_last_request_with_any():
    numbers, names = merged(requests_of([1, 2, 0]), 5, has_padding=False)
    assert names.tolist() == [b"0/0", b"1/0", b"1/1", b"1/0", b"1/0"]
    assert numbers.tolist() == [[0, 0], [1, 0], [1, 1], [1, 0], [1, 0]]


def test_shorter_rows_are_filled_up_with_the_first_value_of_their_request():
    """The example of TF Serving's guide: rows of 3 and of 2 become rows of 3."""
    long, short = np.array([[1, 2, 3]]), np.array([[4, 5], [6, 7]])
    (column,) = merged([[long], [short]], 3, has_padding=True)
    assert column.tolist() == [[1, 2, 3], [4, 5, 4], [6, 7, 4]]


def test_strings_and_higher_ranks_are_filled_up():
    names = [np.array([[b"a"]], object), np.array([[b"b", b"c"]], object), np.empty((1, 0), object)]
    assert merged([[each] for each in names], 3, has_padding=True)[0].tolist() == [[b"a", b"a"], [b"b", b"c"], [b"", b""]]
    cubes = [np.full((1, 1, 2), 7.0), np.full((1, 3, 1), 8.0)]
    (column,) = merged([[cube] for cube in cubes], 2, has_padding=True)
    assert column.shape == (2, 3, 2)
    assert set(column[0].ravel()) == {7.0}


@settings(deadline=None)
@given(size=st.integers(0, 40), allowed=st.lists(st.integers(1, 32), unique=True).map(sorted))
def test_padded_size_is_the_least_that_holds_the_rows(size, allowed):
    wanted = min([each for each in allowed if each >= size], default=size)
    assert padded_size(size, tuple(allowed)) == wanted


def test_inputs_of_unequal_rows_are_refused():
    with pytest.raises(RequestError, match="must have equal 0th-dimension size"):
        num_rows([np.zeros(2), np.zeros(3)])


def test_shapes_are_those_of_a_row():
    assert row_shapes(requests_of([3])[0]) == ((2,), ())


@pytest.mark.parametrize(
    ("output", "message"), [(np.float32(1), "has 0 dimensions"), (np.zeros(2), "does not equal the sum of the 0th dimension")]
)
def test_outputs_without_a_row_for_each_are_refused(output, message):
    with pytest.raises(RequestError, match=message) as raised:
        split([np.asarray(output)], [1, 2], 3)
    assert raised.value.status == "FAILED_PRECONDITION"
