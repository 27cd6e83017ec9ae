"""Where the rows of the race lie; without TensorFlow, so that the one who judges starts at once."""


def arrays_path(folder):
    """Path of the rows as arrays.

    Args:
        folder: as of `write_rows`.

    Returns:
        `pathlib.Path`.
    """
    return folder / "columns.npz"


def rows_glob(folder):
    """Glob of the rows as transformed TFRecords.

    Args:
        folder: as of `write_rows`.

    Returns:
        Text.
    """
    return str(folder / "rows-*.gz")


def transform_folder(folder):
    """Folder of the transform.

    Args:
        folder: as of `write_rows`.

    Returns:
        `pathlib.Path`.
    """
    return folder / "output"
