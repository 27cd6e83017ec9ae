"""Transformed rows in files: batches to train on, in an order that a seed and an epoch name, and columns read whole.

Reading costs about as much as training unless it is done by the block: records are read, joined, parsed, shuffled and cut
again many at a time, and no operation sees a single row.

Shapes: R rows of a window.
"""

import collections.abc
import contextlib
import struct

import numpy as np
import tensorflow as tf

from models.errors import TrainingError
from models.held_rows import HeldRows
from models.packing import IDS, NUMBERS, packed_spec, unpack

# Files read at a time, and rows of a file that follow each other.
FILES_AT_ONCE = 4
BLOCK_ROWS = 256
_READ_BYTES = 1 << 20
_MIB = 1 << 20


class TransformedRows:
    """Rows of gzipped TFRecord files of packed tf.Examples.

    Args:
        patterns: globs of the files; each must match one.
        spec: of the columns, as `TFTransformOutput.transformed_feature_spec` gives it.

    Attributes:
        files: paths, sorted.
        spec: as given.

    Raises:
        TrainingError: If a pattern matches no file.
    """

    def __init__(self, patterns, spec):
        self.spec = spec
        found = {pattern: tf.io.gfile.glob(str(pattern)) for pattern in patterns}
        for pattern, files in found.items():
            if not files:
                raise TrainingError(f"rows must lie in files of TFRecords. Received: {pattern}, which matches no file")
        self.files = tuple(sorted({file for files in found.values() for file in files}))
        self._held = None

    @contextlib.contextmanager
    def held(self, max_mib) -> collections.abc.Iterator[bool]:
        """All rows in memory meanwhile, read once, if they take no more than they may.

        Args:
            max_mib: most memory in mebibytes.

        Yields:
            Whether they are; nothing but the speed of a pass depends on it.
        """
        blocks = self._blocks(
            np.arange(len(self.files)), lambda index: self._file_records(index).map(lambda each: (index, each))
        )
        self._held = HeldRows.read(blocks, self.spec, len(self.files), self.estimate(), max_mib * _MIB) if max_mib else None
        try:
            yield self._held is not None
        finally:
            self._held = None

    def shuffled_batches(self, batch_size, window_rows, seed, epoch, first_batch=0, drop_remainder=False):
        """Batches of one epoch, in an order of its own.

        Files come in random order, several at a time, and rows are in random order within windows of consecutive ones. The
        order follows from the arguments alone: to go on within an epoch costs reading what was passed, no more. An iterator
        begins to read when it is made.

        Args:
            batch_size: rows of a batch; the last one may be smaller.
            window_rows: rows that are shuffled together, rounded up to whole batches.
            seed: of the order.
            epoch: number of the pass; another number, another order.
            first_batch: batches that are passed over.
            drop_remainder: whether a smaller last batch is left out.

        Returns:
            `tf.data.Dataset` of packed batches, which `columns` unpacks.
        """
        order = np.random.default_rng([seed, epoch]).permutation(len(self.files))
        batches_by_window = -(-window_rows // batch_size)
        first_window, passed_batches = divmod(first_batch, batches_by_window)

        held = self._held

        def shuffled(window, rows_R):
            order_R = tf.random.experimental.stateless_shuffle(tf.range(tf.size(rows_R)), [seed, (epoch << 32) + window])
            if held:
                return held.take(tf.gather(rows_R, order_R))
            # Records are many small strings: rows of a parsed matrix are gathered at a fraction of the cost.
            return {name: tf.gather(column, order_R) for name, column in self._parsed(rows_R).items()}

        blocks = self._blocks(order, held.blocks if held else self._file_records)
        windows = blocks.rebatch(batches_by_window * batch_size)
        windows = windows.skip(first_window).enumerate(first_window).map(shuffled).prefetch(1)
        batches = windows.rebatch(batch_size, drop_remainder).skip(passed_batches).prefetch(tf.data.AUTOTUNE)
        options = tf.data.Options()
        options.experimental_warm_start = True
        return batches.with_options(options)

    def batches(self, batch_size):
        """Batches of all rows in the order of the files.

        Args:
            batch_size: rows of a batch; the last one may be smaller.

        Returns:
            `tf.data.Dataset` of packed batches, which `columns` unpacks.
        """
        parsed = self._records().rebatch(batch_size).map(self._parsed, tf.data.AUTOTUNE, deterministic=True)
        return parsed.prefetch(tf.data.AUTOTUNE)

    def columns(self, packed):
        """Columns of a packed batch, or of a part of it, by name.

        Args:
            packed: dict of (batch, entries) tensors.

        Returns:
            Dict from name to (batch,) or (batch, entries) tensor.
        """
        return unpack(packed, self.spec)

    def read(self, names):
        """Some columns of all rows.

        Args:
            names: of columns; none to count the rows only.

        Returns:
            Dict from name to NumPy array (rows,) or (rows, entries), and the number of rows.
        """
        needed = {IDS if self.spec[name].dtype == tf.int64 else NUMBERS for name in names}
        if self._held:
            columns = unpack({name: self._held.packed[name] for name in needed}, self.spec)
            return {name: columns[name].numpy() for name in names}, self._held.num_rows
        spec = {name: feature for name, feature in packed_spec(self.spec).items() if name in needed}
        parts, num_rows = [], 0
        for records in self._records().rebatch(16 * BLOCK_ROWS).prefetch(tf.data.AUTOTUNE):
            num_rows += len(records)
            if names:
                columns = unpack(tf.io.parse_example(records, spec), self.spec)
                parts.append({name: columns[name].numpy() for name in names})
        return {name: np.concatenate([part[name] for part in parts]) for name in names if parts}, num_rows

    def estimate(self):
        """Number of rows by the size of the files, within a few percent; for shows of progress.

        Returns:
            int, at least 1.
        """
        head = next(iter(self._file_records(0)), tf.zeros([0], tf.string))
        # A record lies between its length, 8 bytes, and two checksums of 4.
        bytes_by_row = 16 + float(tf.reduce_mean(tf.cast(tf.strings.length(head), tf.float32))) if len(head) else 16.0
        return max(1, round(sum(map(_unpacked_bytes, self.files)) / bytes_by_row))

    def _records(self):
        """Blocks of the serialized rows of all files."""
        return self._blocks(np.arange(len(self.files)), self._file_records)

    def _file_records(self, index):
        """Blocks of the serialized rows of one file."""
        file = tf.constant(self.files)[index]
        return tf.data.TFRecordDataset(file, compression_type="GZIP", buffer_size=_READ_BYTES).batch(BLOCK_ROWS)

    @staticmethod
    def _blocks(file_indices, of_file_fn):
        """Blocks of several files, side by side."""
        # Parallel, yet in a fixed order: a seed names one run.
        return tf.data.Dataset.from_tensor_slices(file_indices).interleave(
            of_file_fn, cycle_length=FILES_AT_ONCE, num_parallel_calls=FILES_AT_ONCE, deterministic=True
        )

    def _parsed(self, records_R):
        return tf.io.parse_example(records_R, packed_spec(self.spec))


def _unpacked_bytes(path):
    """What a gzip file of one member says of its content, in its last 4 bytes, modulo 2^32."""
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(max(0, file.size() - 4))
        return struct.unpack("<I", file.read(4))[0]
