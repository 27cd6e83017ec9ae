"""Errors of the pipeline package. Each prints as one line and says what to do next where that is not obvious.

PipelineError
├── ConfigError       a configuration file, key or value that cannot be used
├── ComponentError    a component of the run failed; names it and its cause
├── ReportError       a run that there is nothing to tell of
├── SkewError         nothing that was served can be compared, or nothing that it could be compared with
├── TunerError        a search that found nothing
└── VersionError      a pushed version, or what was recorded beside it, is missing
"""


class PipelineError(Exception):
    """Base of every error that the command line prints as one line."""


class ConfigError(PipelineError):
    """A configuration that cannot be used; the message names the dotted key."""


class ComponentError(PipelineError):
    """A component that failed.

    Attributes:
        component: its name in the run.
    """

    def __init__(self, component, cause):
        """An error of one component.

        Args:
            component: its name in the run.
            cause: one line.
        """
        super().__init__(f"{component} failed: {cause}")
        self.component = component


class ReportError(PipelineError):
    """A run that is not recorded, or that these sources cannot read."""


class SkewError(PipelineError):
    """Served rows that are too few or of no known version, or training statistics that are gone."""


class TunerError(PipelineError):
    """A search none of whose trials came to its end."""


class VersionError(PipelineError):
    """A pushed version that is missing or incomplete."""
