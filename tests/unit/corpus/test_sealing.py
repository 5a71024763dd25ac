"""Text that is not public: never on disk in the clear, readable while its keys exist, gone in every version when one is destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest
from versions import publish

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import sealing, staging, warehouse
from pipelines.corpus.documents import Document, as_of, document, state_of
from pipelines.corpus.keys import Keys
from pipelines.errors import MaskingFailed

WORDS = "the duration of the cough is nineteen days"


def note(settings: Settings, key: str, text: str = WORDS, day: str = "2011-01-01", who: str = "Ann") -> Document:
    subject = Keys.open(settings).subject("regulatory", (who,))
    assert subject is not None
    return document(key=key, title="A visit", text=text, valid_from=day, arrival_id="a", subjects=(subject,))


def in_the_clear(root: Path, words: str) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and words.encode() in path.read_bytes()]


def test_no_file_holds_the_text_and_the_reader_gets_it_back(settings: Settings, private: DomainConfig, tmp_path: Path) -> None:
    rows = [note(settings, "k1"), note(settings, "k2", who="Bob")]
    folder = tmp_path / "staged"
    folder.mkdir()
    keys = sealing.sealer(settings)
    staging.write(folder, staging.Staged(rows), keys, seal=True)
    assert list(staging.read(folder, keys).documents) == rows
    made = publish(settings, private, 0, list(staging.read(folder, keys).documents))
    assert warehouse.documents(settings, "regulatory", "Test_v1.0") == rows
    assert made.content == state_of(rows)
    for words in (WORDS, "A visit", "Ann"):
        assert in_the_clear(settings.var, words) == []


def test_destroying_a_key_unreads_every_version_and_leaves_the_rest(settings: Settings, private: DomainConfig) -> None:
    first = publish(settings, private, 0, [note(settings, "k1"), note(settings, "k2", who="Bob")])
    publish(settings, private, 1, [note(settings, "k1", "another text", "2014-01-01")], parent=first.snapshot_id)
    keys = Keys.open(settings)
    ann = keys.find("regulatory", (" ann ",))
    assert ann is not None and keys.destroy(ann) and not keys.destroy(ann)
    for version in ("Test_v1.0", "Test_v1.1"):
        rows = warehouse.documents(settings, "regulatory", version)
        assert {(row.key, row.erased, row.text) for row in rows} == {("k1", True, ""), ("k2", False, WORDS)}
        assert [row.key for row in as_of(rows, "2015-01-01")] == ["k2"]


def test_erased_rows_are_carried_on_by_later_arrivals(settings: Settings, private: DomainConfig) -> None:
    first = publish(settings, private, 0, [note(settings, "k1"), note(settings, "k2", who="Bob")])
    keys = Keys.open(settings)
    keys.destroy(keys.find("regulatory", ("Ann",)) or "")
    made = publish(settings, private, 1, [note(settings, "k2", "a newer text", "2014-01-01", who="Bob")], parent=first.snapshot_id)
    rows = warehouse.documents(settings, "regulatory", "Test_v1.1")
    assert [(row.key, row.erased) for row in rows] == [("k1", True), ("k2", False), ("k2", False)]
    assert made.content == state_of(rows)


def test_an_erased_subject_gets_no_second_key(settings: Settings) -> None:
    keys = Keys.open(settings)
    ann = keys.subject("regulatory", ("Ann",))
    assert ann == keys.subject("regulatory", ("ann",)) != keys.subject("other", ("Ann",))
    keys.destroy(ann or "")
    assert keys.subject("regulatory", ("Ann",)) is None
    with pytest.raises(MaskingFailed, match="was destroyed"):
        keys.wrap([ann or ""], b"x" * 32)


def test_without_its_subjects_key_store_nothing_is_read_or_written(settings: Settings, private: DomainConfig) -> None:
    publish(settings, private, 0, [note(settings, "k1")])
    master, store = settings.secrets / "subjects.key", settings.var / "vault" / "subjects.db"
    assert master.stat().st_mode & 0o777 == store.stat().st_mode & 0o777 == 0o600
    aside = master.with_suffix(".aside")
    master.rename(aside)
    with pytest.raises(MaskingFailed, match="key is missing"):
        warehouse.documents(settings, "regulatory", "Test_v1.0")
    assert not master.exists()
    master.write_text("0" * 64)
    master.chmod(0o600)
    with pytest.raises(MaskingFailed, match="cannot be opened"):
        warehouse.documents(settings, "regulatory", "Test_v1.0")
    aside.rename(master)
    master.chmod(0o644)
    with pytest.raises(MaskingFailed, match="read by others"):
        warehouse.documents(settings, "regulatory", "Test_v1.0")
    master.chmod(0o600)
    store.rename(store.with_suffix(".aside"))
    with pytest.raises(MaskingFailed, match="not in the store"):
        warehouse.documents(settings, "regulatory", "Test_v1.0")


def test_a_text_without_a_subject_is_not_written(settings: Settings, private: DomainConfig) -> None:
    with pytest.raises(MaskingFailed, match="no subject"):
        publish(settings, private, 0, [document(key="k", title="", text=WORDS, valid_from="2011-01-01", arrival_id="a")])
    assert in_the_clear(settings.var, WORDS) == []


def test_ciphertexts_do_not_move_between_documents(settings: Settings) -> None:
    keys = sealing.sealer(settings)
    one, other = (sealing.to_values(note(settings, key, key), keys, seal=True) for key in ("k1", "k2"))
    with pytest.raises(MaskingFailed, match="altered"):
        sealing.from_values(one | {"sealed": other["sealed"], "wrapped": other["wrapped"]}, keys)
