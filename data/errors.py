"""Errors of the data package. Each message is one line and names the key, or the file and line.

DataError
├── LogFormatError       a log cannot be read at all: missing file, unknown column, unreadable container
├── DeadLetterError      too many records of a log cannot be read
├── FetchError           a data set cannot be downloaded, checked or unpacked
├── DelayEstimateError   no row is old enough to tell how late a label comes (data.delays)
├── OutputError          what a run would write is there already
├── EmptyLogError        a log was read and held no usable row
└── ReconciliationError  rows in differ from rows out: a defect of this program, never of the input
"""


class DataError(Exception):
    """Base of every error that the data package raises on purpose."""


class LogFormatError(DataError):
    """A log or table that cannot be read as declared."""


class DeadLetterError(DataError):
    """A log of which more records are unreadable than the configuration allows."""


class FetchError(DataError):
    """A data set that cannot be had whole."""


class OutputError(DataError):
    """A folder that holds the examples of another run."""


class EmptyLogError(DataError):
    """A log without a single usable row."""


class ReconciliationError(DataError):
    """Counts that do not add up."""
