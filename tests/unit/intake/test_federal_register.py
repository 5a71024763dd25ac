"""The Federal Register's API v1, spoken by a local server: pages, days, texts that come late."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from source_server import Asked, Reply, Server

from pipelines.errors import ConfigError, Unavailable
from pipelines.intake.connectors import kinds
from pipelines.intake.connectors.pull import Gathered, Pull
from pipelines.source_config import FederalRegister, Http

Row = dict[str, Any]


class Register:
    """Published documents, searched as the real API searches them."""

    def __init__(self, server: Server, per_page: int = 2) -> None:
        self.server, self.per_page, self.rows = server, per_page, list[Row]()
        server.on("/api/v1/documents.json", self.search)

    def publish(self, number: str, day: str, *, effective: str | None = None, text: bool = True) -> None:
        xml = f"{self.server.url}/documents/full_text/xml/{day.replace('-', '/')}/{number}.xml"
        raw = f"{self.server.url}/documents/full_text/text/{day.replace('-', '/')}/{number}.txt"
        row = {
            "document_number": number, "publication_date": day, "effective_on": effective, "type": "Rule", "title": f"Rule {number}",
            "full_text_xml_url": xml if text else None, "raw_text_url": raw if text else None,
        }  # fmt: skip
        self.rows.append(row)
        self.server.on(xml.removeprefix(self.server.url), Reply(body=f"<RULE>{number}</RULE>".encode()))
        self.server.on(
            raw.removeprefix(self.server.url), Reply(body=f"<html><body><pre>\nText &amp; {number}\n</pre></body></html>".encode())
        )
        self.server.on(f"/api/v1/documents/{number}.json", lambda _: Reply(body=json.dumps(row).encode()))

    def search(self, asked: Asked) -> Reply:
        since = asked.get("conditions[publication_date][gte]") or ""
        found = sorted((row for row in self.rows if row["publication_date"] >= since), key=lambda row: row["publication_date"])
        page = int(asked.get("page") or 1)
        body: dict[str, Any] = {"count": len(found), "description": "Documents", "total_pages": -(-len(found) // self.per_page)}
        if found:
            body["results"] = found[(page - 1) * self.per_page : page * self.per_page]
        if page * self.per_page < len(found):
            body["next_page_url"] = f"{self.server.url}/api/v1/documents.json?conditions[publication_date][gte]={since}&page={page + 1}"
        return Reply(body=json.dumps(body).encode())


@pytest.fixture
def register(source_server: Server) -> Register:
    return Register(source_server)


@pytest.fixture
def gather(register: Register, tmp_path: Path) -> Callable[..., Gathered]:
    calls = iter(range(100))

    def run(
        watermark: Row | None = None,
        today: str = "2015-03-20",
        progress: Row | None = None,
        remember: Callable[[Row], None] = lambda _: None,
        **more: Any,
    ) -> Gathered:
        http = Http(attempts=2, backoff_seconds=0.001)
        source = FederalRegister(
            kind="federal_register", name="fr", url=f"{register.server.url}/api/v1", since="2015-03-01", http=http, **more
        )
        folder = tmp_path / f"pull{next(calls)}"
        folder.mkdir()
        return kinds.gather(source, Pull(folder, today, watermark or {}, progress or {}, remember))

    return run


def names(found: Gathered) -> list[str]:
    return [document.path.name for document in found.documents]


def test_every_page_with_its_full_text_and_effective_date(register: Register, gather: Callable[..., Gathered]) -> None:
    for number in range(5):
        register.publish(f"2015-0000{number}", f"2015-03-0{number + 1}", effective="2016-01-01" if number == 3 else None)
    found = gather(agencies=("consumer-financial-protection-bureau",), cfr_title=12, cfr_part=1013, types=("RULE", "PRORULE"))
    assert names(found) == [f"2015-0000{number}.xml" for number in range(5)]
    assert [document.effective for document in found.documents] == ["2015-03-01", "2015-03-02", "2015-03-03", "2016-01-01", "2015-03-05"]
    assert found.documents[0].path.read_text() == "<RULE>2015-00000</RULE>"
    first = register.server.asked[0]
    assert first.get("order") == "oldest" and first.all("conditions[type][]") == ["RULE", "PRORULE"]
    assert first.all("conditions[agencies][]") == ["consumer-financial-protection-bureau"]
    assert (first.get("conditions[cfr][title]"), first.get("conditions[cfr][part]")) == ("12", "1013")
    assert "full_text_xml_url" in first.all("fields[]")


def test_the_watermark_goes_on_in_the_middle_of_a_day(register: Register, gather: Callable[..., Gathered]) -> None:
    for number in range(5):
        register.publish(f"n{number}", "2015-03-02")
    first = gather(max_items=3)
    assert names(first) == ["n0.xml", "n1.xml", "n2.xml"]
    register.publish("n5", "2015-03-02")
    second = gather(first.watermark)
    assert names(second) == ["n3.xml", "n4.xml", "n5.xml"]
    assert names(gather(second.watermark)) == [] and gather(second.watermark).watermark == second.watermark
    register.publish("n0", "2015-03-09")  # a number used again is another document
    assert names(gather(second.watermark)) == ["n0.xml"]


def test_a_text_that_comes_late_is_waited_for(register: Register, gather: Callable[..., Gathered]) -> None:
    register.publish("late", "2015-03-02", text=False)
    register.publish("early", "2015-03-03")
    first = gather()
    assert names(first) == ["early.xml"] and first.watermark["waiting"] == {"late": "2015-03-02"} and first.skipped == []
    register.rows.clear()
    register.publish("late", "2015-03-02", effective="2015-06-01")
    second = gather(first.watermark)
    assert [(d.path.name, d.effective) for d in second.documents] == [("late.xml", "2015-06-01")]
    assert second.watermark["waiting"] == {} and second.watermark["day"] == "2015-03-03"


def test_a_text_that_never_comes_is_reported(register: Register, gather: Callable[..., Gathered]) -> None:
    register.publish("never", "2015-03-02", text=False)
    first = gather()
    second = gather(first.watermark, today="2015-04-30")
    assert [(one.item, one.reason) for one in second.skipped] == [("never", "its full text did not appear within 14 days")]
    assert second.watermark["waiting"] == {}


def fail(register: Register, *numbers: str) -> None:
    """The texts of these answer 503, for good."""
    for row in register.rows:
        if row["document_number"] in numbers:
            register.server.on(row["full_text_xml_url"].removeprefix(register.server.url), Reply(503))


def test_a_source_that_fails_half_way_keeps_what_came(register: Register, gather: Callable[..., Gathered]) -> None:
    for number in range(6):
        register.publish(f"n{number}", f"2015-03-0{number + 1}")
    fail(register, *(f"n{number}" for number in range(1, 6)))
    first = gather()
    assert names(first) == ["n0.xml"] and "busy" in first.note and first.watermark["day"] == "2015-03-04"
    assert sorted(first.watermark["waiting"]) == ["n1", "n2", "n3"]
    register.server.on("/api/v1/documents.json", Reply(503))
    with pytest.raises(Unavailable):
        gather(first.watermark)
    register.server.on("/api/v1/documents.json", register.search)
    for row in list(register.rows):
        register.publish(row["document_number"], row["publication_date"])
        register.rows.pop()
    back = gather(first.watermark)
    assert sorted(names(back)) == [f"n{number}.xml" for number in range(1, 6)]
    assert back.watermark["waiting"] == back.watermark["failing"] == {} and back.note == ""


def test_texts_that_never_answer_hold_up_no_other_and_are_left_out_in_the_end(register: Register, gather: Callable[..., Gathered]) -> None:
    for number in range(3):
        register.publish(f"n{number}", f"2015-03-0{number + 1}")
    fail(register, "n1")
    first = gather()
    assert names(first) == ["n0.xml", "n2.xml"] and first.note == "" and first.skipped == []
    assert (first.watermark["waiting"], first.watermark["failing"]) == ({"n1": "2015-03-02"}, {"n1": "2015-03-20"})
    register.publish("n3", "2015-03-25")
    second = gather(first.watermark, today="2015-04-03")
    assert names(second) == ["n3.xml"] and second.skipped == [], "fourteen days are counted from the first failure"
    third = gather(second.watermark, today="2015-04-04")
    assert [(one.item, one.reason[:31]) for one in third.skipped] == [("n1", "its full text could not be had ")] and third.documents == []
    assert third.watermark["waiting"] == third.watermark["failing"] == {}


def test_a_row_of_broken_texts_at_the_front_is_passed_the_next_time(register: Register, gather: Callable[..., Gathered]) -> None:
    for number in range(5):
        register.publish(f"n{number}", f"2015-03-0{number + 1}")
    fail(register, "n0", "n1", "n2")
    kept: list[Row] = []
    with pytest.raises(Unavailable):
        gather(remember=kept.append)
    assert sorted(kept[-1]["failing"]) == ["n0", "n1", "n2"], "nothing came, so the watermark stays: it looks like a source that is down"
    found = gather(progress=kept[-1])
    assert names(found) == ["n3.xml", "n4.xml"] and sorted(found.watermark["waiting"]) == ["n0", "n1", "n2"]
    assert "busy" in found.note
    given_up = gather(found.watermark, today="2015-04-04")
    assert sorted(one.item for one in given_up.skipped) == ["n0", "n1", "n2"] and given_up.watermark["waiting"] == {}


def test_too_large_is_skipped_with_its_reason(register: Register, gather: Callable[..., Gathered]) -> None:
    register.publish("big", "2015-03-02")
    register.publish("fine", "2015-03-02")
    register.server.on("/documents/full_text/xml/2015/03/02/big.xml", Reply(body=b"x" * 60_000_000))
    found = gather()
    assert names(found) == ["fine.xml"] and [(one.item, one.reason) for one in found.skipped] == [("big", "larger than 50 MB")]


def test_as_json_with_the_plain_text(register: Register, gather: Callable[..., Gathered]) -> None:
    register.publish("2015-1", "2015-03-02")
    [document] = gather(format="json").documents
    read = json.loads(document.path.read_text())
    assert (read["id"], read["text"], read["title"]) == ("2015-1", "Text & 2015-1", "Rule 2015-1")


def test_what_the_source_sends_cannot_name_a_path_or_a_host(register: Register, gather: Callable[..., Gathered]) -> None:
    register.publish("good", "2015-03-02")
    register.rows.append({**register.rows[0], "document_number": "../../etc/passwd"})
    register.rows.append({**register.rows[0], "document_number": "no-day", "publication_date": "2015-03-99"})
    found = gather()
    assert names(found) == ["good.xml"] and len(found.skipped) == 2
    register.rows[:] = [{**register.rows[0], "document_number": "far", "full_text_xml_url": "https://elsewhere.invalid/x.xml"}]
    with pytest.raises(ConfigError, match="another host"):
        gather()
