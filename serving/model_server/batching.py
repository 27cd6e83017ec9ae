"""Dynamic batching: work of several calls on one signature runs as one, as TF Serving's parameters say."""

import collections
import threading
import time

from serving.errors import RequestError
from serving.model_server.batches import merged, num_rows, padded_size, row_shapes, split
from serving.runners import QUEUE_IS_FULL, Admission


class _Task:
    """One call's work in a queue."""

    def __init__(self, work, caller):
        self.work = work
        self.caller = caller
        self.num_rows = num_rows(work.arrays) if work.is_batchable else 0
        self.row_shapes = row_shapes(work.arrays)
        self.enqueued_at = time.monotonic()
        self.arrays = None
        self.error = None
        self._has_ended = threading.Event()

    def end(self, arrays=None, error=None):
        self.arrays, self.error = arrays, error
        self._has_ended.set()

    def result(self):
        if not self._has_ended.wait(self.caller.remaining_seconds):
            raise RequestError("DEADLINE_EXCEEDED", "the deadline passed before the model had answered")
        if self.error is not None:
            raise self.error
        return self.arrays


class _Batch:
    """Tasks that run together; open while others may join."""

    def __init__(self, task):
        self.tasks = [task]
        self.num_rows = task.num_rows
        self.opened_at = task.enqueued_at

    def add(self, task):
        self.tasks.append(task)
        self.num_rows += task.num_rows


class BatchingRunner:
    """Puts work into a queue of its model and signature, from which a few threads take batches.

    A batch is taken when a thread is free and the batch is full, or another stands behind it, or its first call has waited
    `batch_timeout_micros`. Work whose rows cannot be put together, such as a user with candidates, is a batch by itself.
    Where TF Serving fails a whole batch, only the request that is to blame fails here.

    Attributes:
        joins_rows: as of `runners.DirectRunner`.
    """

    joins_rows = True

    def __init__(self, limits, max_calls, metrics):
        """A runner whose threads wait for work.

        Args:
            limits: `config_files.BatchingLimits`.
            max_calls: calls in all queues together; each holds a thread of the server until it is answered.
            metrics: `metrics.ServerMetrics`.
        """
        self.admission = Admission(max_calls)
        self._limits = limits
        self._metrics = metrics
        self._changed = threading.Condition()
        self._has_closed = False
        # Only what holds batches is here; the first goes to the end when one of its batches is taken.
        self._queues = collections.OrderedDict()
        self._threads = [
            threading.Thread(target=self._work, name=f"{limits.thread_pool_name}-{index}", daemon=True)
            for index in range(limits.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, work, caller):
        """Outputs of the work.

        Args:
            work: `runners.Work`.
            caller: `runners.Caller`.

        Returns:
            List of `numpy.ndarray` in the order of `work.fetches`.

        Raises:
            RequestError: If the queue is full, the work is too large, nobody wants the answer any more, or the model refuses.
        """
        task = _Task(work, caller)
        limit = self._limits.max_batch_size
        if task.num_rows > limit:
            raise RequestError("INVALID_ARGUMENT", f"Task size {task.num_rows} is larger than maximum input batch size {limit}")
        with self.admission:
            with self._changed:
                self._enqueue(task)
                self._changed.notify()
            return task.result()

    def close(self):
        """Runs what is enqueued and ends the threads."""
        with self._changed:
            self._has_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _enqueue(self, task):
        key = (task.work.model, task.work.feeds, task.work.fetches)
        batches = self._queues.get(key)
        if batches and self._may_join(task, batches[-1]):
            batches[-1].add(task)
            return
        if batches and len(batches) >= self._limits.max_enqueued_batches:
            raise RequestError("UNAVAILABLE", QUEUE_IS_FULL)
        self._queues.setdefault(key, collections.deque()).append(_Batch(task))

    def _may_join(self, task, batch):
        if not task.work.is_batchable or batch.num_rows + task.num_rows > self._limits.max_batch_size:
            return False
        return self._limits.pad_variable_length_inputs or batch.tasks[0].row_shapes == task.row_shapes

    def _work(self):
        while (batch := self._next_batch()) is not None:
            self._process(batch)

    def _next_batch(self):
        """The next batch that is to run; None when there is none and never will be."""
        with self._changed:
            while True:
                wait_seconds = None
                for key, batches in self._queues.items():
                    remaining_seconds = self._remaining_seconds(batches)
                    if remaining_seconds <= 0:
                        return self._take(key, batches)
                    wait_seconds = min(remaining_seconds, wait_seconds or remaining_seconds)
                if self._has_closed and not self._queues:
                    return None
                self._changed.wait(wait_seconds)

    def _remaining_seconds(self, batches):
        first = batches[0]
        is_ready = len(batches) > 1 or first.num_rows >= self._limits.max_batch_size or not first.tasks[0].work.is_batchable
        if is_ready or self._has_closed:
            return 0.0
        return first.opened_at + self._limits.batch_timeout_micros / 1e6 - time.monotonic()

    def _take(self, key, batches):
        batch = batches.popleft()
        if batches:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        # This thread was woken for one batch; another may be ready as well.
        self._changed.notify()
        return batch

    def _process(self, batch):
        now = time.monotonic()
        tasks = []
        for task in batch.tasks:
            self._metrics.observe_queuing(self._limits.thread_pool_name, now - task.enqueued_at)
            try:
                task.caller.require_wanted()
            except RequestError as error:
                task.end(error=error)
            else:
                tasks.append(task)
        if tasks:
            self._run(tasks)

    def _run(self, tasks):
        try:
            results = self._results(tasks)
        # Whatever goes wrong is the answer of the calls that wait: a thread that ended here would leave them waiting.
        except Exception as error:
            if len(tasks) == 1 or not isinstance(error, RequestError):
                for task in tasks:
                    task.end(error=error)
                return
            for task in tasks:
                self._run([task])
            return
        for task, arrays in zip(tasks, results, strict=True):
            task.end(arrays)

    def _results(self, tasks):
        work = tasks[0].work
        self._metrics.count_batch()
        if not work.is_batchable:
            return [work.model.run(work.feeds, work.arrays, work.fetches)]
        sizes = [task.num_rows for task in tasks]
        size = padded_size(sum(sizes), self._limits.allowed_batch_sizes) if any(sizes) else 0
        inputs = merged([task.work.arrays for task in tasks], size, self._limits.pad_variable_length_inputs)
        return split(work.model.run(work.feeds, inputs, work.fetches), sizes, size)
