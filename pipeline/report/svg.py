"""SVG as text: elements whose attributes and text are escaped."""

from markupsafe import Markup, escape


def element(tag, *children, **attributes):
    """One element.

    Args:
        tag: its name.
        *children: elements, or text, which is escaped.
        **attributes: numbers are rounded to tenths; an underscore stands for a hyphen, one at the end is dropped; None for
            an attribute that is not there.

    Returns:
        `markupsafe.Markup`.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _number(value))
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inner)


def drawing(title, description, width, height, *children):
    """A picture with a text in its place for those who do not see it.

    Args:
        title: what is shown.
        description: what it says, with the numbers that matter.
        width: units of the coordinates.
        height: units of the coordinates.
        *children: elements.

    Returns:
        `markupsafe.Markup` of an `svg` element that scales with its place.
    """
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=f"{title}. {description}",
    )


def path(points):
    """A line through points.

    Args:
        points: iterable of (x, y).

    Returns:
        Value of a path's attribute `d`.
    """
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _number(value):
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value
