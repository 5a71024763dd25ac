"""FHIR R4: documents in a Bundle or one per line; every other resource accounted for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.intake.records import RawRecord, Refusal

Take = Callable[..., tuple[list[RawRecord], list[Refusal]]]
PATIENT = {"resourceType": "Patient", "id": "p1", "name": [{"given": ["Ana"], "family": "Lind"}], "identifier": [{"value": "998991"}]}
COMPOSITION = {
    "resourceType": "Composition",
    "id": "c1",
    "title": "Discharge summary",
    "date": "2014-05-06T10:00:00Z",
    "subject": {"reference": "urn:uuid:77"},
    "section": [
        {"title": "History", "text": {"div": '<div xmlns="http://www.w3.org/1999/xhtml"><p>Fell <b>down</b>.</p><p>Twice.</p></div>'}},
        {"title": "Nothing", "emptyReason": {"text": "none"}},
        {"title": "Plan", "section": [{"code": {"text": "Drugs"}, "text": {"div": "<div>Codeine</div>"}}]},
        {"title": "Codes only", "entry": [{}]},
    ],
}


def _packed(data: bytes | str) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def _note(number: int, *attachments: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = [{"attachment": one} for one in attachments]
    subject = {"reference": "Patient/p1", "display": "A. Lind"}
    return {"resourceType": "DocumentReference", "id": f"d{number}", "subject": subject, "content": content, **more}


def _bundle(*resources: Any) -> str:
    entries = [{"fullUrl": "urn:uuid:77" if one is PATIENT else f"urn:uuid:{n}", "resource": one} for n, one in enumerate(resources)]
    return json.dumps({"resourceType": "Bundle", "type": "document", "entry": entries})


def test_a_bundle_gives_its_documents_and_accounts_for_the_rest(take: Take) -> None:
    text = {"contentType": "text/plain; charset=utf-8", "data": _packed("Café au lait spots.")}
    content = _bundle(COMPOSITION, PATIENT, _note(1, text), {"resourceType": "Observation", "id": "o"}, {"resourceType": "Lindqvist"}, 3)
    records, refusals = take("b.json", content, dated_by="delivery")
    assert [(one.key, one.title, one.text, one.subjects, one.place) for one in records] == [
        ("Composition/c1", "Discharge summary", "History\nFell down.\nTwice.\n\nDrugs\nCodeine", ("Ana Lind", "998991", "p1"), "entry 1"),
        ("DocumentReference/d1", "", "Café au lait spots.", ("Ana Lind", "998991", "p1"), "entry 3, content 1"),
    ]
    assert [one.place for one in refusals] == ["entry 1, section 5", "entry 2", "entry 4", "entry 5", "entry 6"]
    assert refusals[2].reason.startswith("Observation holds no document") and "Lindqvist" not in str(refusals)


def test_sections_of_a_composition(take: Take) -> None:
    records, _ = take("b.json", json.dumps(COMPOSITION), split="section", dated_by="document")
    assert [(one.key, one.title, one.valid_from) for one in records] == [
        ("Composition/c1#history", "History", "2014-05-06"),
        ("Composition/c1#drugs", "Drugs", "2014-05-06"),
    ]
    assert records[0].subjects == ("77",)


def test_a_report_is_its_form_or_else_its_narrative(take: Take, make_pdf: Callable[..., bytes]) -> None:
    report = {"resourceType": "DiagnosticReport", "id": "r1", "code": {"coding": [{"display": "Chest X-ray"}]}, "conclusion": "Clear."}
    form = {"contentType": "application/pdf", "data": _packed(make_pdf("Lungs are clear."))}
    scan = {"contentType": "application/pdf", "data": _packed(make_pdf(None))}
    (one,), refusals = take("r.json", json.dumps({**report, "presentedForm": [form]}))
    assert (one.key, one.title, one.text, refusals) == ("DiagnosticReport/r1", "Chest X-ray", "Lungs are clear.", [])
    (one,), refusals = take("r.json", json.dumps({**report, "presentedForm": [scan]}))
    assert one.text == "Clear." and [one.place for one in refusals] == ["presented form 1, page 1"]
    records, refusals = take("r.json", json.dumps({**report, "conclusion": ""}))
    assert records == [] and len(refusals) == 1


def test_ndjson_keeps_to_its_lines(take: Take) -> None:
    text = {"data": _packed("words"), "contentType": "text/plain"}
    lines = [json.dumps(PATIENT), json.dumps(_note(1, text)), "{broken", "", json.dumps(_note(2, text, status="entered-in-error"))]
    records, refusals = take("n.ndjson", "\n".join(lines), formats=("fhir",))
    assert [(one.key, one.withdrawn, one.place) for one in records] == [
        ("DocumentReference/d1", False, "line 2, content 1"),
        ("DocumentReference/d2", True, "line 5"),
    ]
    assert records[0].subjects == ("Ana Lind", "998991", "p1")
    assert [one.place for one in refusals] == ["line 1", "line 3"]


def test_the_first_content_that_can_be_read_is_the_document(take: Take) -> None:
    picture = {"contentType": "image/png", "data": _packed("x")}
    page = {"contentType": "text/html", "data": _packed("<p>As a page</p>")}
    (one,), refusals = take("d.json", json.dumps(_note(1, picture, page, {"contentType": "text/plain", "data": _packed("As text")})))
    assert one.text == "As a page" and refusals == []


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        (_note(1, {"url": "http://127.0.0.1/x", "contentType": "text/plain"}), "holds only a link"),
        (_note(1, {"contentType": "audio/mpeg", "data": "AAAA"}), "a sound recording"),
        (_note(1, {"contentType": "application/x-lindqvist", "data": "AAAA"}), "no reader"),
        (_note(1, {"contentType": "text/plain", "data": "%%%"}), "not Base64"),
        (_note(1, {"contentType": "text/plain", "data": _packed(b"caf\xe9")}), "not UTF-8"),
        (_note(1), "holds no content"),
        ({**_note(1), "id": "Ana Lind"}, "no id that can be a key"),
        ({**_note(1), "content": [3]}, "not a DocumentReference as FHIR R4 describes it"),
        ({"resourceType": "Composition", "id": "c"}, "holds no section"),
        ({"resourceType": "Bundle"}, "no entry"),
        ({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Bundle"}}]}, "inside a Bundle"),
        (PATIENT, "Patient holds no document"),
        ([{"id": "1", "text": "x"}], "not a FHIR resource"),
    ],
)
def test_what_cannot_be_read_is_one_refusal(take: Take, resource: object, reason: str) -> None:
    records, refusals = take("x.json", json.dumps(resource), formats=("fhir",))
    assert records == [] and len(refusals) == 1 and reason in refusals[0].reason
    assert "lind" not in str(refusals).lower()


def test_a_date_that_is_none_is_refused(take: Take) -> None:
    for date in ("2014", "6 May"):
        records, refusals = take("x.json", json.dumps({**COMPOSITION, "date": date}), dated_by="document")
        assert records == [] and "no full date" in refusals[0].reason


def test_json_without_a_resource_type_stays_a_table(take: Take) -> None:
    assert take("x.json", '[{"id": "1", "text": "x"}]')[0][0].key == "1"
    assert take("x.json", json.dumps(PATIENT), formats=("json",))[1][0].reason == "columns are missing: text"
