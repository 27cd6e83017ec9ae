"""Models without TensorFlow, for what surrounds them."""

import threading


class FakeModel:
    """A model that doubles what it is fed, remembers the calls, and can be made to wait or to fail."""

    def __init__(self, number=1):
        self.number = number
        self.is_closed = False
        self.inputs = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.is_running = threading.Semaphore(0)

    def run(self, feeds, arrays, fetches):
        self.inputs.append(arrays)
        self.is_running.release()
        assert self.may_run.wait(10)
        assert not self.is_closed
        return [array * 2 for array in arrays]

    def close(self):
        self.is_closed = True


def write_fake_version(base_path, number, content="good"):
    """A folder that `load_fake` takes for a version."""
    folder = base_path / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(content)
    return folder


def load_fake(folder, number):
    content = (folder / "saved_model.pb").read_text()
    if content != "good":
        raise ValueError(f"a {content} model")
    return FakeModel(number)
