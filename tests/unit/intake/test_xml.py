"""eCFR and C-CDA, and XML that is built to do harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.intake.records import RawRecord, Refusal

Take = Callable[..., tuple[list[RawRecord], list[Refusal]]]

ECFR = """<?xml version="1.0" encoding="UTF-8"?>
<DLPSTEXTCLASS><TEXT><BODY><ECFRBRWS><AMDDATE>Jan. 1, 2020</AMDDATE>
<DIV1 N="12" TYPE="TITLE"><HEAD>Title 12</HEAD>
<DIV5 N="1013" TYPE="PART"><HEAD>PART 1013—CONSUMER LEASING</HEAD><AUTH><P>15 U.S.C. 1604.</P></AUTH>
<DIV8 N="§ 1013.1" TYPE="SECTION"><HEAD>§ 1013.1   Authority, scope.</HEAD><P>(a) <I>Authority.</I> This part is law.</P><P>(b) More.</P>
<CITA>[76 FR 78502]</CITA></DIV8>
<DIV8 N="1013.2" TYPE="SECTION"><HEAD>§ 1013.2   [Reserved]</HEAD></DIV8>
<DIV8 N="1013.3" TYPE="SECTION"><HEAD>§ 1013.3   Forms.</HEAD><img src="/graphics/er.gif"/></DIV8>
<DIV8 N="1013.1" TYPE="SECTION"><HEAD>§ 1013.1   Again.</HEAD><P>Twice.</P></DIV8>
<DIV9 N="Appendix A to Part 1013" TYPE="APPENDIX"><HEAD>Appendix A</HEAD>
<TABLE><TR><TH>Year</TH><TH>Amount</TH></TR><TR><TD/><TD>$53,500</TD></TR></TABLE></DIV9>
</DIV5></DIV1></ECFRBRWS></BODY></TEXT></DLPSTEXTCLASS>"""

CCDA = """<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.3" extension="d1"/><code code="18842-5"/><title>Discharge Summary</title>
<effectiveTime value="201405061030-0500"/><setId root="1.2.9" extension="s1"/>
<recordTarget><patientRole><id root="1.1" extension="998991"/><patient><name><given>Ana</given><family>Lind</family></name></patient>
</patientRole></recordTarget><component>{body}</component></ClinicalDocument>"""
BODY = """<structuredBody><component><section><code code="10164-2"/><title>History</title>
<text><paragraph>Fell <content>down</content>.</paragraph><list><item>first</item></list></text>
<component><section><title>Inner</title><text>deep</text></section></component></section></component>
<component><section><code code="8653-8"/><title>Plan</title>
<text><table><thead><tr><th>Drug</th><th>Dose</th></tr></thead>
<tbody><tr><td>Codeine</td><td>5 mg</td></tr></tbody></table></text></section></component>
<component><section><title>Codes only</title><entry/></section></component></structuredBody>"""


def test_ecfr_gives_sections_and_appendices(take: Take) -> None:
    records, refusals = take("title-12.xml", ECFR, dated_by="document")
    assert [(one.key, one.withdrawn, one.valid_from) for one in records] == [
        ("1013.1", False, "2020-01-01"),
        ("1013.2", True, "2020-01-01"),
        ("appendix-a-to-part-1013", False, "2020-01-01"),
    ]
    assert records[0].text == "(a) Authority. This part is law.\n(b) More." and records[0].title == "§ 1013.1 Authority, scope."
    assert records[2].text == "Year | Amount\n| $53,500"
    assert len(refusals) == 2 and {one.reason.split(":")[0] for one in refusals} == {
        "the section holds no text",
        "the section occurs twice",
    }
    assert take("title-12.xml", ECFR)[0][0].valid_from == "2014-01-01", "dated by delivery unless the domain says otherwise"


def test_a_truncated_ecfr_file_keeps_what_was_whole(take: Take) -> None:
    records, refusals = take("t.xml", ECFR[: ECFR.index("1013.3")])
    assert [one.key for one in records] == ["1013.1", "1013.2"]
    assert [one.reason for one in refusals] == ["not well-formed XML"] and refusals[0].place.startswith("line ")


def test_ccda_is_its_narrative(take: Take) -> None:
    records, refusals = take("d.xml", CCDA.format(body=BODY), dated_by="document")
    (one,) = records
    assert (one.key, one.title, one.valid_from, one.subjects) == (
        "18842-5:1.2.9^s1",
        "Discharge Summary",
        "2014-05-06",
        ("Ana Lind", "998991"),
    )
    assert one.text == "History\nFell down.\nfirst\n\nInner\ndeep\n\nPlan\nDrug | Dose\nCodeine | 5 mg"
    assert [(one.place, one.reason) for one in refusals] == [("section 4", "holds no narrative text")]


def test_ccda_by_section(take: Take) -> None:
    records, refusals = take("d.xml", CCDA.format(body=BODY), split="section")
    assert [(one.key.partition("#")[2], one.title) for one in records] == [("10164-2", "History"), ("inner", "Inner"), ("8653-8", "Plan")]
    assert len(refusals) == 1


def test_a_ccda_body_that_is_not_xml(take: Take, make_pdf: Callable[..., bytes]) -> None:
    import base64

    packed = base64.b64encode(make_pdf("Discharged home.", None)).decode()
    body = '<nonXMLBody><text mediaType="application/pdf" representation="B64">{}</text></nonXMLBody>'
    records, refusals = take("d.xml", CCDA.format(body=body.format(packed)))
    assert [(one.key, one.text, one.subjects) for one in records] == [("18842-5:1.2.9^s1", "Discharged home.", ("Ana Lind", "998991"))]
    assert [one.place for one in refusals] == ["body, page 2"]
    assert "not Base64" in take("d.xml", CCDA.format(body=body.format("%%")))[1][0].reason
    _, refusals = take("d.xml", CCDA.format(body='<nonXMLBody><text mediaType="image/png">x</text></nonXMLBody>'))
    assert "a picture" in refusals[0].reason


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "&{a};&{a};&{a};&{a};">' for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<a", "well-formed"),
        ("<a/>", "not RegML or eCFR or C-CDA: its root element is unknown"),
        (f"{LAUGHS}]><a>&h;</a>", "DTD"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "DTD"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>', "DTD"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "unknown encoding"),
        ('<ClinicalDocument xmlns="urn:hl7-org:v3">' + "<a>" * 80 + "</a>" * 80 + "</ClinicalDocument>", "nested more than 64 deep"),
        ("<a>" * 200_000, "nested more than 64 deep"),
        ('<ClinicalDocument xmlns="urn:hl7-org:v3"/>', "no id"),
        ('<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2"/></ClinicalDocument>', "no body"),
        ("<ECFR/>", "holds no section"),
        ("<a>\x01</a>", "well-formed"),
    ],
)
def test_hostile_or_foreign_xml_is_one_refusal(take: Take, content: str, reason: str) -> None:
    records, refusals = take("a.xml", content)
    assert records == [] and len(refusals) == 1 and reason in refusals[0].reason


def test_xml_of_a_kind_that_the_domain_does_not_take(take: Take) -> None:
    _, refusals = take("a.xml", ECFR, formats=("regml",))
    assert refusals[0].reason == "not RegML: it is eCFR"


@pytest.mark.shared
def test_the_real_clinical_documents(shared_data: Path, take_path: Take) -> None:
    whole: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    keys = []
    for path in sorted(path for path in (shared_data / "hl7_ccda").rglob("*") if path.suffix.lower() == ".xml"):
        for counts, options in ((whole, {}), (parts, {"split": "section", "dated_by": "document"})):
            records, refusals = take_path(path, **options)
            counts["records"] += len(records)
            counts["refusals"] += len(refusals)
            keys += [one.key for one in records if not options]
            assert all(one.subjects and "<" not in one.text for one in records)
    assert whole == {"records": 12, "refusals": 1}
    # 172 sections in all; one imaging report has a section of codes without a narrative.
    assert parts == {"records": 171, "refusals": 1}
    assert len(set(keys)) == 11, "the two CCDs say that they are versions of one document"
