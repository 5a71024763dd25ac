"""RegML: regulations, notices, and that the chain of notices gives the consolidated text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.intake import regml
from pipelines.intake.records import RawRecord, Refusal

PREAMBLE = "<preamble><documentNumber>2014-1</documentNumber><effectiveDate>2014-07-01</effectiveDate></preamble>"


def _read(body: str, root: str = "notice", preamble: str = PREAMBLE) -> tuple[list[RawRecord], list[Refusal]]:
    xml = f'<{root} xmlns="eregs"><fdsys><title>MODEL RULE</title></fdsys>{preamble}{body}</{root}>'
    found = list(regml.read(xml.encode(), ""))
    return [one for one in found if isinstance(one, RawRecord)], [one for one in found if isinstance(one, Refusal)]


def _notice(*changes: str) -> tuple[list[RawRecord], list[Refusal]]:
    return _read(f'<changeset leftDocumentNumber="a" rightDocumentNumber="2014-1">{"".join(changes)}</changeset>')


def test_a_regulation_gives_each_paragraph_its_own_text() -> None:
    records, refusals = _read(
        """<part label="9"><tableOfContents><tocSecEntry/></tableOfContents><content><section label="9-1"><subject>§ 9.1 Scope.</subject>
        <paragraph label="9-1-a"><title type="keyterm">Who.</title><content>A <ref target="x">lessor</ref>
          leases.</content><paragraph label="9-1-a-1"><content>Nested &amp; own.</content></paragraph></paragraph>
        <paragraph label="9-1-b"><content>No title.</content></paragraph>
        <paragraph label="9-1-c"><title>Only a heading</title><content/><paragraph label="9-1-c-1"><content>Below.</content></paragraph>
        </paragraph></section></content></part>""",
        root="regulation",
    )
    assert refusals == []
    assert [(r.key, r.title, r.text) for r in records] == [
        ("9-1-a", "Who", "Who. A lessor leases."),
        ("9-1-a-1", "Who", "Nested & own."),
        ("9-1-b", "§ 9.1 Scope", "No title."),
        ("9-1-c-1", "Only a heading", "Below."),
    ]
    assert {(r.source, r.valid_from, r.withdrawn, r.replaces_below) for r in records} == {("2014-1", "2014-07-01", False, False)}


def test_a_notice_yields_added_modified_and_deleted() -> None:
    records, refusals = _notice(
        '<change operation="added" label="9-2"><paragraph label="9-2"><content>New.</content>'
        '<paragraph label="9-2-a"><content>Newer.</content></paragraph></paragraph></change>',
        '<change operation="modified" label="9-1"><paragraph label="9-1"><content>Other.</content></paragraph></change>',
        '<change operation="deleted" label="9-3"/>',
        '<change operation="modified" label="9-4" subpath="content"><content>Only content.</content></change>',
    )
    assert refusals == []
    assert [(r.key, r.text, r.withdrawn, r.replaces_below) for r in records] == [
        ("9-2", "New.", False, False),
        ("9-2-a", "Newer.", False, False),
        ("9-1", "Other.", False, True),
        ("9-3", "", True, True),
        ("9-4", "Only content.", False, False),
    ]
    assert records[0].title == "Model rule"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('<change operation="renumbered" label="9-1"><paragraph label="9-1"/></change>', "'renumbered'"),
        ('<change operation="modified" label="9-1" colour="red"/>', "'colour'"),
        ('<change operation="added" label="9-1"/>', "without the text"),
        ('<change operation="added"/>', "no label"),
        ('<change operation="modified" label="9-1" subpath="title"><title>X</title></change>', "'title'"),
        ('<change operation="added" label="9-1"><paragraph><content>No label.</content></paragraph></change>', "without a label"),
        (
            '<change operation="added" label="9-1"><paragraph label="9-1"><content><graphic><altText/></graphic></content></paragraph>'
            "</change>",
            "picture",
        ),
    ],
)
def test_a_change_that_is_not_understood_is_refused_by_name(change: str, reason: str) -> None:
    good = '<change operation="added" label="9-8"><paragraph label="9-8"><content>Good.</content></paragraph></change>'
    records, refusals = _notice(change, good)
    assert [record.key for record in records if not record.withdrawn] == ["9-8"], "the rest is unharmed"
    assert len(refusals) == 1 and reason in refusals[0].reason and refusals[0].place


def test_a_paragraph_that_becomes_a_heading_loses_its_text() -> None:
    records, _ = _notice(
        '<change operation="modified" label="9-1"><paragraph label="9-1"><title>Head</title><content/>'
        '<paragraph label="9-1-a"><content>Below.</content></paragraph></paragraph></change>'
    )
    assert [(r.key, r.withdrawn) for r in records] == [("9-1", True), ("9-1-a", False)]


def test_a_label_twice_in_a_regulation_is_refused() -> None:
    body = '<part><paragraph label="9-1"><content>A.</content></paragraph><paragraph label="9-1"><content>B.</content></paragraph></part>'
    records, refusals = _read(body, root="regulation")
    assert [record.text for record in records] == ["A."] and "twice" in refusals[0].reason


@pytest.mark.parametrize(
    "preamble",
    [
        "",
        "<preamble><documentNumber>x/../y</documentNumber><effectiveDate>2014-07-01</effectiveDate></preamble>",
        "<preamble><documentNumber>2014-1</documentNumber><effectiveDate>July</effectiveDate></preamble>",
    ],
)
def test_a_file_without_number_or_date_is_refused(preamble: str) -> None:
    records, refusals = _read("", preamble=preamble)
    assert records == [] and refusals[0].place == "preamble"


def test_deep_nesting_is_refused() -> None:
    body = "<paragraph>" * 5000 + "</paragraph>" * 5000
    assert "deep" in _read(body, root="regulation")[1][0].reason


def test_repeal_reaches_what_lies_below_and_nothing_else() -> None:
    top = RawRecord("9-2-e-Interp-9", "", "x", "2014-07-01", "s", False, (), "", replaces_below=True)
    kept = RawRecord("9-2-e-Interp-9-ii", "", "x", "2014-07-01", "s", False, (), "")
    known = ["9-2-e-Interp-9", "9-2-e-Interp-9-i", "9-2-e-Interp-9-ii", "9-2-e-Interp-90", "9-2-e"]
    assert regml.repealed([top, kept], known) == ["9-2-e-Interp-9-i"]
    body = RawRecord("9-2-e", "", "x", "2014-07-01", "s", False, (), "", replaces_below=True)
    assert regml.repealed([body], ["9-2-e-1", "9-2-e-Interp-9"]) == ["9-2-e-1"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("part", "numbers"),
    [
        ("1013", ["2011-31723", "2012-27996", "2013-28194", "2014-21847", "2015-30071", "2016-28710", "2017-24411"]),
        ("1002", ["2017-20417_20180101", "2017-20417_20220101"]),
    ],
)
def test_notices_applied_in_order_give_the_consolidated_regulation(part: str, numbers: list[str], shared_data: Path) -> None:
    rules = shared_data / "cfpb_regulations"
    texts: dict[str, str] = {}
    for step, number in enumerate(numbers):
        kind = "notice" if step else "regulation"
        records = [r for r in regml.read((rules / kind / part / f"{number}.xml").read_bytes(), "") if isinstance(r, RawRecord)]
        for key in [*regml.repealed(records, texts), *(record.key for record in records if record.withdrawn)]:
            texts.pop(key, None)
        texts.update({record.key: record.text for record in records if not record.withdrawn})
    last = (rules / "regulation" / part / f"{numbers[-1]}.xml").read_bytes()
    assert texts == {record.key: record.text for record in regml.read(last, "") if isinstance(record, RawRecord)}
    if part == "1013":
        assert "1013-2-e-Interp-9-v" not in texts
        assert texts["1013-2-e-Interp-11-v"].endswith("the threshold amount is $53,500.")
