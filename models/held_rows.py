"""Packed rows of files in memory, to be passed over again without reading, in the order in which reading would give them."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from models.packing import packed_spec


@dataclasses.dataclass(frozen=True)
class HeldRows:
    """Rows of all files in blocks, as they came.

    Attributes:
        packed: (rows, entries) tensor by name, as of `packed_spec`.
        num_rows: rows.
        starts: (blocks,) first row of each block, those of a file side by side and in its order.
        stops: (blocks,) row behind the last of each.
        first_blocks: (files + 1,) first block of each file, and the number of blocks.
    """

    packed: dict
    num_rows: int
    starts: tf.Tensor
    stops: tf.Tensor
    first_blocks: tf.Tensor

    @classmethod
    def read(cls, blocks, spec, num_files, expected_rows, max_bytes):
        """Rows of blocks, unless they take more memory than they may.

        Args:
            blocks: `tf.data.Dataset` of (number of the file, (rows,) serialized packed examples), those of a file in its order.
            spec: of the columns, as `TFTransformOutput.transformed_feature_spec` gives it.
            num_files: number of the files.
            expected_rows: about how many rows there are.
            max_bytes: most memory.

        Returns:
            `HeldRows`; None if they do not fit.
        """
        spec = packed_spec(spec)
        bytes_by_row = sum(math.prod(feature.shape) * feature.dtype.size for feature in spec.values())
        # Pages that are not written to take no memory: room for an estimate that is too low costs nothing.
        capacity = min(2 * expected_rows + 1, max_bytes // bytes_by_row)
        if capacity < expected_rows:
            return None
        arrays = {name: np.empty((capacity, *feature.shape), feature.dtype.as_numpy_dtype) for name, feature in spec.items()}
        parsed = blocks.map(
            lambda file, records: (file, tf.io.parse_example(records, spec)), tf.data.AUTOTUNE, deterministic=True
        )
        num_rows, bounds_by_file = 0, [[] for _ in range(num_files)]
        for file, columns in parsed.prefetch(tf.data.AUTOTUNE):
            stop = num_rows + len(next(iter(columns.values())))
            if stop > capacity:
                return None
            for name, column in columns.items():
                arrays[name][num_rows:stop] = column
            bounds_by_file[int(file)].append((num_rows, stop))
            num_rows = stop
        bounds_B2 = np.array([bounds for of_file in bounds_by_file for bounds in of_file], np.int64).reshape(-1, 2)
        first_blocks = np.cumsum([0, *map(len, bounds_by_file)])
        for array in arrays.values():
            array.resize((num_rows, *array.shape[1:]), refcheck=False)
        with tf.device("CPU:0"):
            packed = {name: tf.convert_to_tensor(array) for name, array in arrays.items()}
        return cls(
            packed,
            num_rows,
            *map(tf.convert_to_tensor, (bounds_B2[:, 0], bounds_B2[:, 1], first_blocks)),
        )

    def blocks(self, file):
        """Numbers of the rows of one file.

        Args:
            file: number of the file.

        Returns:
            `tf.data.Dataset` of (rows,) numbers, block by block.
        """
        numbers = tf.data.Dataset.range(self.first_blocks[file], self.first_blocks[file + 1])
        return numbers.map(lambda block: tf.range(self.starts[block], self.stops[block]))

    def take(self, rows_R):
        """Rows by their numbers.

        Args:
            rows_R: (rows,) numbers.

        Returns:
            Dict of (rows, entries) tensors.
        """
        return {name: tf.gather(column, rows_R) for name, column in self.packed.items()}
