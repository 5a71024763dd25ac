"""Files that are one text each: text, Markdown, HTML, PDF, DOCX."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest

from pipelines.intake.records import RawRecord, Refusal

Take = Callable[..., tuple[list[RawRecord], list[Refusal]]]

PAGE = """<html><head><title>Lease &amp; return</title><meta name="id" content="k9"><meta name="day" content="2014-05-06">
<style>p {color: red}</style></head><body><h1>Scope</h1><p>A <b>lessor</b> must<br>give notice.<script>var secret = 1</script>
<ul><li><p>first</p></li><li>second</ul>
<table><tr><th>Year<th>Amount</tr><tr><td><p>2014</p></td><td></td><td>$53,500</td></tr></table>
<h2>Terms</h2><pre>a  b
 c</pre><img src="x.png" alt="a seal"></body></html>"""

MARKDOWN = """---
id: m1
day: 2014-05-06
who: Ana Lind
---
# Scope

A *lessor* must tell <Your Name>.

- first
- second

| Year | Amount |
|------|--------|
| 2014 | $53,500 |

## Terms
Some `code`.
"""


def test_html_is_its_text_in_blocks(take: Take) -> None:
    records, refusals = take("page.html", PAGE, effective="day")
    assert refusals == []
    assert (records[0].key, records[0].title, records[0].valid_from) == ("k9", "Lease & return", "2014-05-06")
    assert records[0].text.splitlines() == [
        *("Scope", "A lessor must", "give notice.", "- first", "- second", "Year | Amount", "2014 | | $53,500", "Terms"),
        *("a  b", " c", "a seal"),
    ]


def test_markdown_reads_its_front_matter_and_loses_nothing(take: Take) -> None:
    records, refusals = take("m.md", MARKDOWN, effective="day", subject=("who",))
    assert refusals == []
    assert (records[0].key, records[0].title, records[0].valid_from, records[0].subjects) == ("m1", "Scope", "2014-05-06", ("Ana Lind",))
    assert "A lessor must tell <Your Name>.\n- first\n- second\nYear | Amount\n2014 | $53,500\nTerms\nSome code." in records[0].text


def test_a_domain_without_markdown_takes_it_as_written(take: Take) -> None:
    records, _ = take("m.md", MARKDOWN, formats=("text",))
    assert records[0].key == "m" and records[0].text == MARKDOWN.strip()


@pytest.mark.parametrize(("name", "content"), [("d.html", PAGE), ("d.md", MARKDOWN)])
def test_sections_are_cut_at_headings(take: Take, name: str, content: str) -> None:
    records, refusals = take(name, content, split="section", key="none")
    assert refusals == []
    assert [(one.key, one.title, one.place) for one in records] == [
        ("d#scope", "Scope", "section 1"),
        ("d#scope/terms", "Terms", "section 2"),
    ]


def test_equal_headings_are_told_by_those_above_or_refused(take: Take) -> None:
    records, refusals = take("d.md", "before\n# A\n## Notes\none\n# B\n## Notes\ntwo\n## Notes\nthree", split="section")
    assert [one.key for one in records] == ["d", "d#a/notes", "d#b/notes"] and len(refusals) == 1
    long = "".join(f"{'#' * level} {'word ' * 30}\n" for level in range(1, 6))
    records, _ = take("d.md", f"{long}one\n##### {'word ' * 30}2\ntwo", split="section")
    assert len({one.key for one in records}) == 1 + 1 and all(len(one.key) <= 160 for one in records)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.html", "<p>before<script>lost", "never closed"),
        ("a.html", "<![x<![x", "not readable as HTML"),
        ("a.html", "<html><style>p{}</style></html>", "holds no text"),
        ("a.md", "---\n[\n---\ntext", "not readable as YAML"),
        ("a.md", "---\n- x\n---\ntext", "names with values"),
        ("a.md", "> " * 90 + "deep", "deep"),
        ("a.md", "---\nid: x\n---\n", "holds no text"),
        ("a.txt", b"caf\xe9", "not UTF-8"),
        ("a.txt", b"\x89PNG\r\n\x1a\n123", "a picture (PNG)"),
        ("a.txt", b"words\0words", "NUL"),
        ("a.png", b"\x89PNG\r\n\x1a\n123", "a picture (PNG): only text"),
        ("a.jpg", b"any", "a picture: only text"),
        ("a.wav", b"RIFF1234WAVEfmt ", "a sound recording (WAV): only text"),
        ("a.mp3", b"ID3\x03abc", "a sound recording (MP3)"),
        ("a.dcm", b"\0" * 128 + b"DICM", "medical image"),
        ("a.doc", b"\xd0\xcf\x11\xe0", "save it as DOCX"),
        ("a.xlsx", b"PK\x03\x04", "save it as CSV"),
        ("a.pdf", b"hello", "not a PDF"),
        ("a.pdf", b"PK\x03\x04hello", "not what its name says"),
        ("a.docx", b"hello", "not readable as zip"),
        ("a.docx", b"\xd0\xcf\x11\xe0 an encrypted one", "not what its name says"),
        ("a.pdf", b"", "empty"),
    ],
)
def test_what_cannot_be_read_is_one_refusal(take: Take, name: str, content: str | bytes, reason: str) -> None:
    records, refusals = take(name, content)
    assert records == [] and len(refusals) == 1 and reason in refusals[0].reason


def test_latin_1_is_refused_with_the_place_or_taken_where_the_domain_says_so(
    take: Take,
) -> None:
    text = "x" * 70_000 + "café"
    _, refusals = take("a.txt", text.encode("latin-1"))
    assert refusals[0].place == "byte 70003" and "name its encoding in the domain file" in refusals[0].reason
    assert take("a.txt", text.encode("latin-1"), encoding="iso-8859-1")[0][0].text == text
    assert take("a.txt", text.encode("utf-16"), encoding="utf-16")[0][0].text == text
    assert take("a.txt", "\ufeffcafé é".encode())[0][0].text == "café é"


def test_the_file_name_may_say_key_date_and_subject(take: Take) -> None:
    shape = r"(?P<subject>[^-]+)-(?P<date>\d{8})-(?P<key>\w+)"
    records, _ = take("Ana_Lind-20140506-n7.txt", "words", file_name=shape)
    assert records == [RawRecord("n7", "", "words", "2014-05-06", "", False, ("Ana Lind",), "")]
    for name in ("Ana.txt", "Ana-20141306-n7.txt"):
        _, refusals = take(name, "words", file_name=shape)
        assert len(refusals) == 1 and "Ana" not in refusals[0].reason


def test_a_pdf_gives_its_text_and_refuses_a_scanned_page_by_number(take: Take, make_pdf: Callable[..., bytes]) -> None:
    content = make_pdf("A lessor must give notice.", None, "", "The end.")
    records, refusals = take("r.pdf", content)
    assert [one.text for one in records] == ["A lessor must give notice.\nThe end."]
    assert [(one.place, one.reason) for one in refusals] == [("page 2", "holds no text layer: a scan or a drawing")]
    records, refusals = take("r.pdf", content, split="section")
    assert [(one.key, one.text) for one in records] == [("r#page-1", "A lessor must give notice."), ("r#page-4", "The end.")]
    assert len(refusals) == 1
    records, refusals = take("r.pdf", make_pdf(None, None))
    assert records == [] and [one.place for one in refusals] == ["page 1", "page 2"]
    assert "no text" in take("r.pdf", make_pdf(""))[1][0].reason
    assert "more than 2 pages" in take("r.pdf", content, limits={"pages": 2})[1][0].reason


def test_a_pdf_cut_short_or_damaged_anywhere_is_refused(take: Take, make_pdf: Callable[..., bytes]) -> None:
    content = make_pdf("one", "two")
    for cut in range(10, len(content) - 8, 97):
        records, refusals = take("r.pdf", content[:cut])
        assert records == [] and len(refusals) == 1 and "cut short" in refusals[0].reason
    for start in range(9, len(content) - 60, 41):
        records, refusals = take("r.pdf", content[:start] + b"\xff" * 40 + content[start + 40 :])
        assert not any("its reader failed" in one.reason for one in refusals), start


def test_an_encrypted_pdf_is_refused(take: Take, make_pdf: Callable[..., bytes]) -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf("secret"))))
    writer.encrypt("password", algorithm="AES-256")
    made = io.BytesIO()
    writer.write(made)
    records, refusals = take("r.pdf", made.getvalue())
    assert records == [] and "encrypted" in refusals[0].reason


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def _docx(body: str, **parts: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f"<w:document {W}><w:body>{body}</w:body></w:document>")
        for name, content in parts.items():
            archive.writestr(f"word/{name}.xml", content)
    return made.getvalue()


def _p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


STYLES = f"""<w:styles {W}><w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style></w:styles>"""


def test_docx_is_paragraphs_tables_and_footnotes_as_revised(take: Take) -> None:
    body = (
        _p("Scope", '<w:pStyle w:val="berschrift1"/>')
        + "<w:p><w:r><w:t>A lessor </w:t></w:r><w:ins><w:r><w:t>must</w:t></w:r></w:ins>"
        + "<w:del><w:r><w:delText>may</w:delText></w:r></w:del>"
        + '<w:r><w:tab/><w:t>tell.</w:t><w:footnoteReference w:id="2"/></w:r></w:p>'
        + f"<w:tbl><w:tr><w:tc>{_p('Year')}</w:tc><w:tc>{_p('')}</w:tc><w:tc>{_p('Amount')}</w:tc></w:tr></w:tbl>"
        + _p("Terms", '<w:outlineLvl w:val="1"/>')
        + f"<w:sdt><w:sdtContent>{_p('Inside a control.')}</w:sdtContent></w:sdt>"
    )
    notes = f'<w:footnotes {W}><w:footnote w:id="0" w:type="separator">{_p("x")}</w:footnote>'
    notes += f'<w:footnote w:id="2">{_p("By post.")}</w:footnote></w:footnotes>'
    content = _docx(body, styles=STYLES, footnotes=notes)
    records, refusals = take("r.docx", content)
    assert refusals == [] and (records[0].key, records[0].title) == ("r", "Scope")
    assert records[0].text == "Scope\nA lessor must tell. [2]\nYear | | Amount\nTerms\nInside a control.\n[2] By post."
    records, _ = take("r.docx", content, split="section")
    assert [one.key for one in records] == ["r#scope", "r#scope/terms"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_docx(""), "holds no text"),
        (_docx(_p("&x;")), "damaged"),
        (_docx("<w:p>" * 70 + "</w:p>" * 70), "nested more than 64"),
        (_docx(_p("x"))[:-40], "cut short"),
        (_docx("<w:p/>", styles="<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), "DTD"),
        (_docx(_p("A" * 5_000_000)), "times its size"),
    ],
    ids=["nothing", "entity", "deep", "cut", "dtd", "bomb"],
)
def test_a_bad_docx_is_one_refusal(take: Take, content: bytes, reason: str) -> None:
    records, refusals = take("r.docx", content)
    assert records == [] and len(refusals) == 1 and reason in refusals[0].reason
