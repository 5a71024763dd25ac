"""The eCFR versioner's API v1, spoken by a local server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from source_server import Asked, Reply, Server

from pipelines.errors import Unavailable
from pipelines.intake.connectors import ecfr, kinds
from pipelines.intake.connectors.pull import Gathered, Pull
from pipelines.source_config import Ecfr, Http


class Versioner:
    """Title 12 with one part, changed section by section."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.rows: list[dict[str, Any]] = []
        self.up_to, self.busy, self.importing = "2024-06-30", False, False
        server.on("/v1/titles.json", self.titles)
        server.on("/v1/versions/title-12.json", self.versions)

    def amend(self, section: str, amended: str, issued: str | None = None) -> None:
        self.rows.append(
            {
                "date": amended, "amendment_date": amended, "issue_date": issued or amended, "identifier": section, "name": f"§ {section}",
                "part": section.split(".")[0], "substantive": True, "removed": False, "subpart": None, "title": "12", "type": "section",
            }
        )  # fmt: skip
        self.server.on(f"/v1/full/{amended}/title-12.xml", self.full)

    def titles(self, _: Asked) -> Reply:
        title = {"number": 12, "name": "Banks and Banking", "up_to_date_as_of": self.up_to, "reserved": False}
        if self.busy:
            title["processing_in_progress"] = True
        return Reply(body=json.dumps({"titles": [title], "meta": {"date": self.up_to, "import_in_progress": self.importing}}).encode())

    def versions(self, asked: Asked) -> Reply:
        since, until, page = asked.get("issue_date[gte]") or "", asked.get("issue_date[lte]"), int(asked.get("page") or 1)
        if until is None:
            return Reply(400, b'{"errors": "Bad parameters: An issue_date parameter must be provided."}')
        rows = [row for row in self.rows if row["part"] == asked.get("part") and since <= row["issue_date"] <= until]
        rows = rows[(page - 1) * ecfr.PAGE : page * ecfr.PAGE]
        return Reply(body=json.dumps({"content_versions": rows, "meta": {"title": "12", "result_count": str(len(rows))}}).encode())

    def full(self, asked: Asked) -> Reply:
        return Reply(body=f"<DIV5 N='{asked.get('part')}'>{asked.path}</DIV5>".encode(), headers={"Content-Type": "application/xml"})


@pytest.fixture
def versioner(source_server: Server) -> Versioner:
    return Versioner(source_server)


@pytest.fixture
def gather(versioner: Versioner, tmp_path: Path) -> Callable[..., Gathered]:
    calls = iter(range(100))

    def run(watermark: dict[str, Any] | None = None, **more: Any) -> Gathered:
        given = {"parts": ("12/1013",), "since": "2019-01-01", **more}
        http = Http(attempts=2, backoff_seconds=0.001)
        source = Ecfr(kind="ecfr", name="cfr", url=f"{versioner.server.url}/v1", http=http, **given)
        folder = tmp_path / f"pull{next(calls)}"
        folder.mkdir()
        return kinds.gather(source, Pull(folder, "2024-07-01", watermark or {}, {}, lambda _: None))

    return run


def dates(found: Gathered) -> list[str]:
    return [document.effective for document in found.documents]


def test_one_full_part_per_day_of_change(versioner: Versioner, gather: Callable[..., Gathered]) -> None:
    versioner.amend("1013.2", "2018-01-01")
    versioner.amend("1013.2", "2020-01-01")
    versioner.amend("1013.4", "2020-01-01")
    versioner.amend("1013.2", "2021-01-01")
    versioner.amend("1026.1", "2022-01-01")
    found = gather()
    assert dates(found) == ["2020-01-01", "2021-01-01"]
    assert found.documents[0].path.name == "title-12-part-1013-2020-01-01.xml"
    assert found.documents[0].path.read_text() == "<DIV5 N='1013'>/v1/full/2020-01-01/title-12.xml</DIV5>"
    assert found.watermark == {"12/1013": ["2021-01-01", "2021-01-01"]}
    assert dates(gather(found.watermark)) == []
    versioner.amend("1013.5", "2024-01-01")
    assert dates(gather(found.watermark)) == ["2024-01-01"]


def test_a_later_correction_of_an_earlier_day_is_taken(versioner: Versioner, gather: Callable[..., Gathered]) -> None:
    versioner.amend("1013.2", "2020-01-01")
    versioner.amend("1013.2", "2021-01-01")
    first = gather()
    versioner.amend("1013.2", "2020-01-01", issued="2021-02-01")
    second = gather(first.watermark)
    assert dates(second) == ["2020-01-01"] and second.watermark == {"12/1013": ["2021-02-01", "2020-01-01"]}


def test_without_a_beginning_only_what_is_in_force(versioner: Versioner, gather: Callable[..., Gathered]) -> None:
    for year in (2018, 2020, 2023):
        versioner.amend("1013.2", f"{year}-01-01")
    versioner.amend("1013.3", "2020-01-01", issued="2024-01-01")
    first = gather(since=None)
    assert dates(first) == ["2023-01-01"] and dates(gather(first.watermark, since=None)) == []


def test_in_pieces(versioner: Versioner, gather: Callable[..., Gathered]) -> None:
    for year in range(2019, 2024):
        versioner.amend("1013.2", f"{year}-01-01")
        versioner.amend("1026.2", f"{year}-06-01")
    mark: dict[str, Any] = {}
    taken: list[str] = []
    for _ in range(4):
        found = gather(mark, parts=("12/1013", "12/1026"), max_items=3)
        taken += [document.path.name for document in found.documents]
        mark = found.watermark
    assert len(taken) == len(set(taken)) == 10 and dates(gather(mark, parts=("12/1013", "12/1026"))) == []


@pytest.mark.parametrize("what", ["busy", "importing"])
def test_a_title_that_is_being_rebuilt_is_left_alone(versioner: Versioner, gather: Callable[..., Gathered], what: str) -> None:
    versioner.amend("1013.2", "2020-01-01")
    setattr(versioner, what, True)
    found = gather()
    assert found.documents == [] and found.watermark == {} and "rebuilt" in found.note
    setattr(versioner, what, False)
    assert dates(gather(found.watermark)) == ["2020-01-01"]


def test_what_is_not_complete_yet_waits(versioner: Versioner, gather: Callable[..., Gathered]) -> None:
    versioner.amend("1013.2", "2024-07-01")
    first = gather()
    assert dates(first) == []
    versioner.up_to = "2024-07-02"
    assert dates(gather(first.watermark)) == ["2024-07-01"]


def test_many_versions_come_in_pages(versioner: Versioner, gather: Callable[..., Gathered], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecfr, "PAGE", 2)
    for month in range(1, 6):
        versioner.amend("1013.2", f"2020-0{month}-01")
    assert dates(gather()) == [f"2020-0{month}-01" for month in range(1, 6)]


def test_a_day_without_content_is_skipped_and_a_busy_title_comes_again(versioner: Versioner, gather: Callable[..., Gathered]) -> None:
    for year in (2020, 2021, 2022):
        versioner.amend("1013.2", f"{year}-01-01")
    versioner.server.on("/v1/full/2020-01-01/title-12.xml", Reply(404))
    versioner.server.on("/v1/full/2022-01-01/title-12.xml", Reply(503, headers={"Retry-After": "900"}))
    found = gather()
    assert dates(found) == ["2021-01-01"] and [one.item for one in found.skipped] == ["12 CFR 1013 of 2020-01-01"]
    assert found.watermark == {"12/1013": ["2021-01-01", "2021-01-01"]}
    with pytest.raises(Unavailable, match="900 seconds"):
        gather(found.watermark)
