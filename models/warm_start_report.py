"""What a ranker took over from an earlier one."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class CopiedRows:
    """Rows of one embedding table.

    Attributes:
        copied: values, or buckets, that the earlier ranker had too.
        new: rows that keep their initial values.
        dropped: rows of the earlier ranker that this one has no place for.
    """

    copied: int
    new: int
    dropped: int


@dataclasses.dataclass(frozen=True)
class WarmStartReport:
    """What was copied, and what was not.

    Attributes:
        model: folder of the earlier ranker.
        tables: `CopiedRows` by feature.
        num_copied: other variables that were taken over whole.
        kept_initial: names of variables and tables that keep their initial values, with the reason.
        obstacle: why nothing at all could be taken over, as "it has no inputs.json"; empty where there was none.
    """

    model: str
    tables: dict[str, CopiedRows]
    num_copied: int
    kept_initial: dict[str, str]
    obstacle: str = ""
