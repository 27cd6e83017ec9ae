"""Numbers as the report writes them. A minus is a minus sign, what is not defined is a dash."""

NONE = "–"


def whole(number):
    """A count.

    Args:
        number: int, or None.

    Returns:
        str with thousands apart.
    """
    return NONE if number is None else f"{number:,.0f}"


def fixed(number, decimals=4):
    """A measure.

    Args:
        number: float, or None.
        decimals: after the point.

    Returns:
        str.
    """
    return NONE if number is None else f"{number:,.{decimals}f}".replace("-", "−")


def signed(number, decimals=4):
    """A change.

    Args:
        number: float, or None.
        decimals: after the point.

    Returns:
        str that begins with its sign; nothing has none.
    """
    if number is None:
        return NONE
    text = f"{number:+,.{decimals}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def short(number):
    """A number of any size in three digits, as a learning rate.

    Args:
        number: float, or None.

    Returns:
        str.
    """
    return NONE if number is None else f"{number:.3g}".replace("-", "−")


def percent(share, decimals=2):
    """A share.

    Args:
        share: within 0 and 1, or None.
        decimals: after the point.

    Returns:
        str with a percent sign.
    """
    return NONE if share is None else f"{100 * share:.{decimals}f}%"


def duration(seconds):
    """A time span.

    Args:
        seconds: at least 0.

    Returns:
        str in seconds, or in minutes and seconds, or in hours and minutes.
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
