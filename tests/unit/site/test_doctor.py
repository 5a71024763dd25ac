"""What the doctor says of versions that the authority and the warehouse do not agree on."""

from __future__ import annotations

import pytest

from pipelines.config import Settings
from pipelines.corpus import warehouse
from pipelines.errors import RatchetError
from pipelines.site import doctor
from pipelines.state.database import transaction
from pipelines.state.models import DatasetVersion


def enter(settings: Settings, name: str, snapshot: str) -> None:
    values = {"arrival_id": name, "known_on": "2014-01-01", "documents": 1, "changed": {}, "content": ""}
    with transaction(settings) as session:
        session.add(DatasetVersion(id=name, domain="regulatory", major=1, minor=0, snapshot_id=snapshot, **values))


def tag(monkeypatch: pytest.MonkeyPatch, **tags: dict[str, int]) -> None:
    monkeypatch.setattr(warehouse, "versions", lambda _settings, domain: tags.get(domain, {}))


def test_a_version_whose_tag_is_lost_comes_from_a_backup(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(settings, "Law_v1.0", "1")
    for tags in ({}, {"Law_v1.0": 2}):
        tag(monkeypatch, regulatory=tags)
        with pytest.raises(RatchetError, match=r"^Law_v1\.0 has lost its tag \(restore the warehouse") as caught:
            doctor._versions(settings)
        assert "backup" in caught.value.todo and "publish" not in caught.value.todo
    tag(monkeypatch, regulatory={"Law_v1.0": 1})
    assert doctor._versions(settings) == "1 versions, every tag in its place"


def test_a_tag_that_was_not_entered_needs_no_backup(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tag(monkeypatch, clinical={"Notes_v1.0": 7})  # a first publish, killed: the domain has no entry at all
    with pytest.raises(RatchetError, match=r"^Notes_v1\.0 was tagged, but not entered \(for what") as caught:
        doctor._versions(settings)
    assert "if no publish runs now" in caught.value.todo and "backup" not in caught.value.todo
    enter(settings, "Law_v1.0", "1")
    with pytest.raises(RatchetError, match=r"^Law_v1\.0 has lost its tag; Notes_v1\.0 was tagged, but not entered \(rest") as caught:
        doctor._versions(settings)
    assert "backup" in caught.value.todo and "clear its publish task" in caught.value.todo
