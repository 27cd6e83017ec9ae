import pytest

from serving.model_server.causes import first_cause


@pytest.mark.parametrize(
    "stack", ["<stack traces unavailable>\n", '  File "serve.py", line 2, in <module>\n    load()\n\n', ""]
)
def test_cause_of_a_tensorflow_error_is_one_line_without_the_call_stack(stack):
    message = (
        f"Graph execution error:\n\nDetected at node Parse defined at (most recent call last):\n{stack}"
        "Name: <unknown>, Key: age, Index: 0.  Data types don't match.\n"
        "\t [[{{node Parse}}]] [Op:__inference_signature_wrapper_1]"
    )
    assert first_cause(message) == "Key: age, Index: 0. Data types don't match."


def test_cause_of_a_tensorflow_error_is_short_and_printable():
    assert first_cause("value: '\x00\n" + "x" * 1000).startswith("value: ' xxx")
    assert len(first_cause("x" * 1000)) == 300
