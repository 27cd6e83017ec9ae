"""The ceiling: a signature called in this process on tensors in memory: `python -m benchmarks.serving.in_process ARGUMENTS`.

Arguments: folder of the SavedModel, threads, seconds, file of requests. Prints a line when warm, and for every line that it
reads a `Load` as JSON.
"""

import dataclasses
import json
import queue
import sys
import time

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving.load import Requests, load_of, run_threads

WARM_UP_CALLS = 50


def signature_calls(model, messages):
    """Functions that each answer one request.

    Args:
        model: loaded SavedModel; its signatures read its variables, so it must live as long as they are called.
        messages: serialized `PredictRequest`s.

    Returns:
        List of functions without arguments that return NumPy arrays by output name.
    """
    calls = []
    for message in messages:
        request = predict_pb2.PredictRequest.FromString(message)
        tensors = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        calls.append(_call(model.signatures[request.model_spec.signature_name], tensors))
    return calls


def _call(signature, tensors):
    return lambda: {name: value.numpy() for name, value in signature(**tensors).items()}


def call_loop(calls, num_threads, num_seconds):
    """Threads that each call again as soon as they have an answer.

    Args:
        calls: as of `signature_calls`.
        num_threads: how many.
        num_seconds: how long.

    Returns:
        `Load` without failures.
    """
    latencies = queue.SimpleQueue()
    started_at = time.perf_counter()

    def work(thread):
        turn = thread
        while time.perf_counter() - started_at < num_seconds:
            called_at = time.perf_counter()
            calls[turn % len(calls)]()
            latencies.put(time.perf_counter() - called_at)
            turn += num_threads

    run_threads(work, num_threads)
    return load_of(latencies, queue.SimpleQueue(), time.perf_counter() - started_at)


def main(arguments):
    """Calls whenever told, and prints how long it took.

    Args:
        arguments: folder, threads, seconds, file of requests.
    """
    folder, num_threads, num_seconds, path = arguments
    model = tf.saved_model.load(folder)
    calls = signature_calls(model, Requests.read(path).messages)
    for turn in range(WARM_UP_CALLS):
        calls[turn % len(calls)]()
    print("{}", flush=True)
    for _ in sys.stdin:
        print(json.dumps(dataclasses.asdict(call_loop(calls, int(num_threads), float(num_seconds)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
