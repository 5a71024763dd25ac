"""The text of an XML element as lines: every element that is not inline begins one, cells of a row are set apart."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from pipelines.intake.records import one_line

_INLINE = {
    *(
        "a",
        "b",
        "i",
        "e",
        "u",
        "em",
        "strong",
        "span",
        "content",
        "linkhtml",
        "su",
        "sub",
        "sup",
        "fr",
        "ac",
        "code",
        "small",
        "footnoteref",
    ),
    *("q", "cite", "abbr"),
}
_CELLS = {"td", "th", "ent", "chd"}
_ROWS = {"tr", "row", "boxhd"}
_LINE, _CELL = "\0", "\1"


def local(tag: object) -> str:
    """The name without its namespace; empty for comments."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def lines(element: Element, leave_out: frozenset[str] = frozenset()) -> str:
    """All text below an element but that of the elements named in `leave_out`. Nesting was limited when it was parsed."""
    parts: list[str] = []

    def walk(node: Element, in_row: bool) -> None:
        name = local(node.tag).lower()
        in_row = in_row or name in _ROWS
        mark = _CELL if name in _CELLS else "" if name in _INLINE else " " if in_row and name not in _ROWS else _LINE
        parts.append(mark)
        parts.append(node.text or "")
        for child in node:
            if local(child.tag) not in leave_out and local(child.tag):
                walk(child, in_row)
            parts.append(child.tail or "")
        parts.append("" if mark == _CELL else mark)

    walk(element, False)
    return "\n".join(filter(None, (_row(line.split(_CELL)) for line in "".join(parts).split(_LINE))))


def _row(cells: list[str]) -> str:
    """Cells side by side, an empty one among them kept: the next must not move under its heading."""
    found = [one_line(cell) for cell in cells]
    if not any(found):
        return ""
    return one_line(" | ".join(found[1:] if len(found) > 1 and not found[0] else found))
