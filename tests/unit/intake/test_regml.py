"""RegML: regulations, and notices with what they amend."""

from __future__ import annotations

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
    assert {r.amends for r in records} == {""}


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


def test_a_notice_says_what_it_amends_and_of_which_date() -> None:
    change = '<change operation="deleted" label="9-3"/>'
    for day, amends in (("", "2013-1"), ('leftEffectiveDate="2018-01-01"', "2013-1@2018-01-01")):
        records, refusals = _read(f'<changeset leftDocumentNumber="2013-1" {day}>{change}</changeset>')
        assert ([record.amends for record in records], refusals) == ([amends], [])
    for head in ("", 'leftDocumentNumber="2013-1" leftEffectiveDate="soon"', 'leftDocumentNumber="../x"'):
        records, refusals = _read(f"<changeset {head}>{change}</changeset>")
        assert records == [] and "which document it amends" in refusals[0].reason


def test_a_change_of_the_content_alone_keeps_the_heading() -> None:
    records, _ = _notice('<change operation="modified" label="9-4" subpath="content"><content>Only content.</content></change>')
    assert [(record.key, record.keeps_heading) for record in records] == [("9-4", True)]
