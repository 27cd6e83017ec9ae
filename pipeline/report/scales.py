"""Scales of charts: where a number lies, and which numbers are written beside an axis."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Scale:
    """A line of numbers drawn from one coordinate to another.

    Attributes:
        low: number at `start`.
        high: number at `end`, greater than `low`.
        start: coordinate.
        end: coordinate.
        step: between ticks; None for a round one that suits.
    """

    low: float
    high: float
    start: float
    end: float
    step: float | None = None

    def __call__(self, value):
        """Coordinate of a number.

        Args:
            value: number; one outside the scale is drawn at its edge.

        Returns:
            float.
        """
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def scale_of(values, start, end, count=4):
    """Scale whose ends are ticks around all values.

    Args:
        values: at least one finite number.
        start: coordinate of the low end.
        end: coordinate of the high end.
        count: ticks, about.

    Returns:
        `Scale`.
    """
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # All the same: a band around it, of a tenth of its size.
        margin = abs(low) / 20 or 0.5
        low, high = low - margin, high + margin
    step = round_step(high - low, count)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, start, end, step)


def ticks(scale, count=4):
    """Round numbers along a scale.

    Args:
        scale: `Scale`.
        count: how many, about, where the scale has no step.

    Returns:
        Tuple of (number, text); each text has as many decimals as the step needs, a minus is a minus sign.
    """
    step = scale.step or round_step(scale.high - scale.low, count)
    first = math.ceil(scale.low / step - 1e-9)
    last = math.floor(scale.high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    numbers = [index * step for index in range(first, last + 1)]
    if max(map(abs, numbers)) < 1e-3:
        return tuple((number, f"{number:.0e}".replace("-", "−") if number else "0") for number in numbers)
    return tuple((number, f"{number:,.{decimals}f}".replace("-", "−")) for number in numbers)


def round_step(span, count):
    """Smallest of 1, 2 and 5 times a power of ten that cuts a span into at most so many parts, or one more.

    Args:
        span: positive.
        count: of parts.

    Returns:
        float.
    """
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
