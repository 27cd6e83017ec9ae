"""A real Redis server of a test's own, on a socket in a folder of its own; tests say skipped where none is installed."""

import contextlib
import shutil
import subprocess
import threading
import time

import pytest
import redis


class RedisServer:
    """A `redis-server` process that can be stopped, and started again with nothing in it."""

    def __init__(self, folder, password=None):
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        self._socket = folder / "redis.sock"
        self._command = [program, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(folder)]
        if password is not None:
            self._command += ["--requirepass", password]
        self._password, self._process = password, None

    @property
    def url(self):
        return f"unix://{self._socket}"

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline, pause = time.monotonic() + 10, threading.Event()
        while True:
            with contextlib.suppress(redis.ConnectionError):
                if redis.Redis.from_url(self.url, password=self._password).ping():
                    return
            assert time.monotonic() < deadline, "redis-server did not start in time"
            pause.wait(0.01)

    def kill(self):
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def running_redis(folder, password=None):
    server = RedisServer(folder, password)
    server.start()
    try:
        yield server
    finally:
        server.kill()
