"""Load on a gRPC method, from a process of its own: `python -m benchmarks.serving.load FILE MODE ARGUMENTS`.

MODE is `closed`, so many clients that each ask again when answered, or `open`, requests at a constant rate whether or not
answers came. FILE holds the requests. Prints a line when warm, and for every line that it reads a `Load` as JSON.
"""

import dataclasses
import json
import pathlib
import queue
import sys
import threading
import time

import grpc
import numpy as np

MAX_MESSAGE_BYTES = 64 << 20
DEADLINE_SECONDS = 10.0
# A generator that falls behind its own schedule measures itself.
MAX_LATE_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Requests:
    """What is asked, again and again in turn.

    Attributes:
        address: host:port.
        method: full name, as "/tensorflow.serving.PredictionService/Predict".
        messages: serialized requests.
    """

    address: str
    method: str
    messages: list

    def write(self, path):
        """Writes them for `read`.

        Args:
            path: `pathlib.Path`.
        """
        head = json.dumps({"address": self.address, "method": self.method, "sizes": [len(each) for each in self.messages]})
        path.write_bytes(head.encode() + b"\n" + b"".join(self.messages))

    @classmethod
    def read(cls, path):
        """Requests from a file.

        Args:
            path: that `write` wrote.

        Returns:
            `Requests`.
        """
        head, body = pathlib.Path(path).read_bytes().split(b"\n", 1)
        found = json.loads(head)
        ends = np.cumsum(found["sizes"])
        messages = [body[end - size : end] for end, size in zip(ends, found["sizes"], strict=True)]
        return cls(found["address"], found["method"], messages)


@dataclasses.dataclass(frozen=True)
class Load:
    """What a load met.

    Attributes:
        seconds: latency of each answered request; in an open loop from the moment at which it was due.
        num_failed: requests by gRPC status that was not OK.
        per_second: answered requests.
    """

    seconds: list
    num_failed: dict
    per_second: float


def closed_loop(requests, num_clients, num_seconds):
    """Clients that each ask again as soon as they are answered.

    Args:
        requests: `Requests`.
        num_clients: threads, each with a connection of its own.
        num_seconds: how long.

    Returns:
        `Load`.
    """
    latencies, failed = queue.SimpleQueue(), queue.SimpleQueue()
    started_at = time.perf_counter()

    def ask(client):
        with _channel(requests.address, client) as channel:
            call = channel.unary_unary(requests.method)
            turn = client
            while time.perf_counter() - started_at < num_seconds:
                asked_at = time.perf_counter()
                try:
                    call(requests.messages[turn % len(requests.messages)], timeout=DEADLINE_SECONDS)
                    latencies.put(time.perf_counter() - asked_at)
                except grpc.RpcError as error:
                    failed.put(error.code().name)
                turn += num_clients

    run_threads(ask, num_clients)
    return load_of(latencies, failed, time.perf_counter() - started_at)


def open_loop(requests, rate, num_seconds):
    """Requests at a constant rate, whether or not answers came.

    Args:
        requests: `Requests`.
        rate: requests a second.
        num_seconds: how long.

    Returns:
        `Load`; latencies count from the moment at which a request was due, so that waiting for one's turn counts too.

    Raises:
        RuntimeError: If this process cannot keep the rate.
    """
    latencies, failed = queue.SimpleQueue(), queue.SimpleQueue()
    num_requests = round(rate * num_seconds)
    with _channel(requests.address, 0) as channel:
        call = channel.unary_unary(requests.method)
        calls = []
        started_at = time.perf_counter()
        for turn in range(num_requests):
            due_at = started_at + turn / rate
            early = due_at - time.perf_counter()
            if early > 0:
                time.sleep(early)
            elif -early > MAX_LATE_SECONDS:
                raise RuntimeError(f"the load must keep {rate:g} requests a second. Received: {-early:.2f} s behind")
            future = call.future(requests.messages[turn % len(requests.messages)], timeout=DEADLINE_SECONDS)
            future.add_done_callback(_record(due_at, latencies, failed))
            calls.append(future)
        for future in calls:
            future.exception()
        seconds = time.perf_counter() - started_at
        # Callbacks run after waiters wake.
        while latencies.qsize() + failed.qsize() < num_requests:
            time.sleep(0.001)
    return load_of(latencies, failed, seconds)


def _record(due_at, latencies, failed):
    def done(future):
        if future.code() is grpc.StatusCode.OK:
            latencies.put(time.perf_counter() - due_at)
        else:
            failed.put(future.code().name)

    return done


def _channel(address, client):
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
        # Else clients of one process would share a connection.
        ("benchmarks.client", client),
    ]
    return grpc.insecure_channel(address, options=options)


def run_threads(work_fn, count):
    """Runs a function in threads until all have ended.

    Args:
        work_fn: function of a thread's number from 0.
        count: of threads.
    """
    threads = [threading.Thread(target=work_fn, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def load_of(latencies, failed, seconds):
    """What threads met.

    Args:
        latencies: queue of seconds, one an answer.
        failed: queue of names of gRPC statuses.
        seconds: that it took.

    Returns:
        `Load`.
    """
    answered = [latencies.get() for _ in range(latencies.qsize())]
    codes = [failed.get() for _ in range(failed.qsize())]
    return Load(answered, {code: codes.count(code) for code in set(codes)}, len(answered) / seconds)


def main(arguments):
    """Puts on the load whenever told, and prints what it met.

    Args:
        arguments: file, mode, clients or rate, seconds.
    """
    path, mode, amount, num_seconds = arguments
    requests = Requests.read(path)
    run_fn = {"closed": closed_loop, "open": open_loop}[mode]
    # Connections, threads and the server's caches are warm before anything counts.
    closed_loop(requests, 1, min(1.0, float(num_seconds)))
    print("{}", flush=True)
    for _ in sys.stdin:
        load = run_fn(requests, int(amount) if mode == "closed" else float(amount), float(num_seconds))
        print(json.dumps(dataclasses.asdict(load)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
