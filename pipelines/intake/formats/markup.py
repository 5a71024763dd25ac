"""HTML and Markdown into blocks of text. Scripts and styles are left out; text that a page hides from the eye is read like any other."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import yaml

from pipelines.intake.formats import rows
from pipelines.intake.formats.documents import Block, cut, head
from pipelines.intake.formats.files import Bad, File, Found, Job, whole_text
from pipelines.intake.records import one_line

_SILENT = {"script", "style", "template", "svg", "iframe", "title"}
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd", "label"),
    *("mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
}
_CELLS = {"td", "th"}
_BREAK = "\0"


class _Blocks(HTMLParser):
    """Collects blocks, the title and the meta fields."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.fields: dict[str, str] = {}
        self.title = ""
        self.silent: list[str] = []
        self._parts: list[str] = []
        self._level = 0
        self._in_row = False
        self._cells = 0
        self._keep = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _SILENT:
            self.silent.append(tag)
        elif tag == "br":
            self._parts.append(" " if self._in_row else _BREAK)
        elif tag == "img":
            self._parts.append(f" {given.get('alt') or ''} ")
        elif tag == "meta":
            if given.get("name") and given.get("content"):
                self.fields[str(given["name"])] = one_line(str(given["content"]))
        elif tag in _CELLS:
            self._parts.append(" | " if self._cells else "")
            self._cells += 1
        elif tag not in _INLINE:
            self._between(tag)
            self._cells = 0 if tag == "tr" else self._cells
            self._in_row = self._in_row or tag == "tr"
            self._keep = self._keep or tag == "pre"
            self._level = int(tag[1]) if re.fullmatch("h[1-6]", tag) else self._level
            if tag == "li" and not self._in_row:
                self._parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            if tag == self.silent[-1]:
                self.silent.pop()
        elif tag not in _INLINE and tag not in _CELLS and tag != "br":
            if tag in ("tr", "table"):
                self._in_row = False
            self._between(tag)
            if tag == "pre":
                self._keep = False

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self._parts.append(data.strip("\n").replace("\n", _BREAK) if self._keep else data)
        elif self.silent[-1] == "title" and not self.title:
            self.title = one_line(data)

    def flush(self) -> None:
        """End the block under way."""
        lines = [one_line(line) if not self._keep else line.rstrip() for line in "".join(self._parts).split(_BREAK)]
        text = "\n".join(line for line in lines if line.strip())
        if text.strip(" -|"):
            self.blocks.append((self._level, text))
        self._parts, self._level = [], 0

    def _between(self, tag: str) -> None:
        if self._in_row and tag != "tr":
            self._parts.append(" ")
        elif "".join(self._parts).strip() != "-":
            self.flush()


def parse(text: str) -> _Blocks:
    """Blocks of an HTML text. Bad when an element without text, such as a script, never ends: what follows it would be lost."""
    page = _Blocks()
    try:
        page.feed(text)
        page.close()
    except AssertionError:
        # What the standard library's parser raises at a broken marked section.
        raise Bad("", "not readable as HTML") from None
    page.flush()
    if page.silent:
        raise Bad("", f"a {page.silent[-1]} element is never closed: cut short")
    return page


def plain(text: str) -> str:
    """An HTML fragment as lines of text."""
    return "\n".join(line for _, line in parse(text).blocks)


def read_html(file: File, job: Job) -> Found:
    """One record, or one per heading; `meta` elements may name key, title, date and subject."""
    page = parse(whole_text(file, job))
    title = page.title or next((text for level, text in page.blocks if level), "")
    yield from cut(head(file, job, title, page.fields), job, page.blocks)


_FRONT = re.compile(r"\A---[ \t]*\r?\n(?P<yaml>.*?)^---[ \t]*\r?$\n?", re.DOTALL | re.MULTILINE)


def read_markdown(file: File, job: Job) -> Found:
    """As HTML; a front matter in YAML may name key, title, date and subject. Raw HTML in it stays as written: nothing is lost."""
    from markdown_it import MarkdownIt

    text = whole_text(file, job)
    fields: dict[str, str] = {}
    if front := _FRONT.match(text):
        try:
            given = yaml.safe_load(front["yaml"])
        except (yaml.YAMLError, ValueError, RecursionError):
            raise Bad("front matter", "not readable as YAML") from None
        if not isinstance(given, dict):
            raise Bad("front matter", "does not hold names with values")
        fields = {str(name): value for name, cell in given.items() if (value := rows.cell(cell))}
        text = text[front.end() :]
    limit = job.limits.depth
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": limit}).enable("table")
    tokens = markdown.parse(text)
    # The parser drops in silence what lies deeper than its limit.
    if any(max([token.level, *(child.level for child in token.children or ())]) >= limit - 2 for token in tokens):
        raise Bad("", f"nested more than {limit} deep")
    page = parse(str(markdown.renderer.render(tokens, markdown.options, {})))
    title = next((text for level, text in page.blocks if level), "")
    yield from cut(head(file, job, title, fields), job, page.blocks)
