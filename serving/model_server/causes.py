"""What TensorFlow's error messages say, without what they drag along. Knows no TensorFlow."""

import re

MAX_CAUSE_CHARACTERS = 300
_MOST_READ = 65_536

# The heading, and then either a remark or indented lines; these hold paths of the server, which are no client's business.
_CALL_STACK = re.compile(r"Detected at node [^\n]{0,500}\n(?:<stack traces unavailable>\n|(?:[ \t].*\n|\n)*)")


def first_cause(message):
    """The part of a TensorFlow error message that says what is wrong.

    Args:
        message: as TensorFlow gave it, often with the graph's call stack around it and a whole tf.Example inside.

    Returns:
        One printable line of at most `MAX_CAUSE_CHARACTERS`.
    """
    # TensorFlow may quote a whole request.
    text = _CALL_STACK.sub("", message[:_MOST_READ].split("\n\t [[", 1)[0])
    line = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(line.removeprefix("Graph execution error:").replace("Name: <unknown>, ", "").split())
    return line if len(line) <= MAX_CAUSE_CHARACTERS else f"{line[: MAX_CAUSE_CHARACTERS - 3]}..."
