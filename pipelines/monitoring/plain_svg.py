"""Matplotlib's SVG made fit for a page with a strict content policy: `style` attributes become presentation attributes and classes, names,
dates, ids and definitions go, links get a title. Colours are the page's: whoever draws uses `INK`, and gets a class for it.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

SIZE = (440.0, 160.0)
"""Width and height of a plot in CSS pixels; the page scales it."""
CLASSES = (*(f"s{n}" for n in range(1, 7)), "grid", "axis", "mark-release", "mark-revert", "mark-canary", "band", "hit")
"""`s1` ... the lines, `hit` the columns that are links. What is filled has the class itself, what is drawn as a line `<class>-line`."""
INK = {name: f"#0000{number:02x}" for number, name in enumerate(CLASSES, 1)}
"""Colours that stand for the classes."""
_NAMED = {ink: name for name, ink in INK.items()}
_DECIMALS = re.compile(r"(\.\d)\d+")
_ONE = r"\1"
_KEPT = {"stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "text-anchor"}


def stripped(text: str, name: str, title: str, says: str, links: dict[str, str], over: str = "") -> str:
    """An `<svg>` element whose ids begin with `name`; `links`: address -> what is shown while the pointer is on it. `over`: elements
    that lie above all others.

    Links are no stops of the Tab key: there are hundreds, and the page's tables have them too.
    """
    root = ElementTree.fromstring(text)  # noqa: S314
    body = "".join(_element(child, links) for child in root)
    return (
        f'<svg viewBox="0 0 {SIZE[0]:.0f} {SIZE[1]:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(says)}</desc>{body}{over}</svg>'
    )


def column(x: float, y: float, width: float, height: float, href: str, says: str) -> str:
    """A rectangle that is a link, and says something while the pointer is on it."""
    shape = f'<rect class="hit" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    return f'<a href={quoteattr(href)} tabindex="-1"><title>{escape(says)}</title>{shape}</a>'


def _element(element: ElementTree.Element, links: dict[str, str]) -> str:
    name = element.tag.rpartition("}")[2]
    if name in ("metadata", "defs"):
        return ""
    inner = escape(element.text.strip()) if name == "text" and element.text else ""
    inner += "".join(_element(child, links) for child in element)
    if name == "g":  # groups carry nothing but names, and where text is turned, which it is not here
        return inner
    told = _attributes(element)
    if name == "a":
        href = next(value for key, value in element.attrib.items() if key.endswith("href"))
        title = f"<title>{escape(links[href])}</title>" if href in links else ""
        return f'<a href={quoteattr(href)} tabindex="-1">{title}{inner}</a>'
    return f"<{name}{told}>{inner}</{name}>" if inner else f"<{name}{told}/>"


def _attributes(element: ElementTree.Element) -> str:
    """Those that say where and how; what `style` says as attributes of their own, and our inks as classes."""
    kept = {key: value for key, value in element.attrib.items() if key in ("d", "x", "y", "width", "height")}
    classes = []
    for rule in element.get("style", "").split(";"):
        key, _, value = (part.strip() for part in rule.partition(":"))
        if key in ("fill", "stroke") and value in _NAMED:
            classes.append(f"{_NAMED[value]}{'' if key == 'fill' else '-line'}")
        elif key in _KEPT or (key in ("fill", "stroke") and value == "none"):
            kept[key] = value
        elif key in ("font", "font-size"):
            kept["font-size"] = next(word for word in value.split() if word.endswith("px")).removesuffix("px")
    if classes:
        kept["class"] = " ".join(classes)
    # A tenth of a pixel is enough.
    return "".join(f" {key}={quoteattr(_DECIMALS.sub(_ONE, value.strip()))}" for key, value in kept.items())
