"""zip and tar: every member is accounted for, whatever an archive tries."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.intake.records import RawRecord, Refusal

Take = Callable[..., tuple[list[RawRecord], list[Refusal]]]
Members = list[tuple[str, bytes]]
GRID = """File type = "ooTextFile"
Object class = "TextGrid"
item []:
    item [1]:
        class = "IntervalTier"
        name = "x"
        intervals [1]:
            xmin = {at}
            xmax = 9
            text = "{text}"
"""
MIXED: Members = [
    ("day1/c1_patient.TextGrid", GRID.format(at=2, text="Fine.").encode()),
    ("day1/note.txt", b"words"),
    ("day1/t.csv", b"id,text\n1,one\n,two\n"),
    ("day1/c1_doctor.TextGrid", GRID.format(at=1, text="Well?").encode()),
    ("photo.png", b"\x89PNG\r\n\x1a\n"),
]


def _zip(members: Members, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return made.getvalue()


def _tar(members: Members, mode: str = "w:gz", links: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.zip", _zip(MIXED)), ("a.tar.gz", _tar(MIXED)), ("a.tgz", _tar(MIXED)), ("a.tar", _tar(MIXED, "w"))],
)
def test_members_are_read_like_loose_files(take: Take, name: str, content: bytes) -> None:
    records, refusals = take(name, content)
    assert sorted((one.key, one.text) for one in records) == [("1", "one"), ("c1", "Doctor: Well?\nPatient: Fine."), ("note", "words")]
    assert sorted((one.place, one.reason.split(":")[0]) for one in refusals) == [
        ("member 3 (.csv), row 2", "the key in column 'id' is empty or longer than 160 characters"),
        ("member 5", "a picture (PNG)"),
    ]


def test_archives_in_archives_have_a_limit(take: Take) -> None:
    inner = _zip([("a.txt", b"words")])
    middle = _tar([("inner.zip", inner)])
    outer = _zip([("middle.tar.gz", middle), ("b.txt", b"more")])
    assert [one.key for one in take("o.zip", outer, limits={"archive_depth": 3})[0]] == ["a", "b"]
    records, refusals = take("o.zip", outer)
    assert [one.key for one in records] == ["b"] and "more than 2 deep" in refusals[0].reason


BAD_NAMES = ["../up.txt", "/etc/abs.txt", "C:\\x.txt", "a\\..\\..\\b.txt", ".hidden", "__MACOSX/x.txt"]


@pytest.mark.parametrize("make", [_zip, _tar])
def test_names_that_lead_out_or_hide_are_refused_one_by_one(take: Take, make: Callable[[Members], bytes]) -> None:
    content = make([*((name, b"words") for name in BAD_NAMES), ("good.txt", b"words")])
    records, refusals = take("a.zip" if make is _zip else "a.tgz", content)
    assert [one.key for one in records] == ["good"]
    assert len(refusals) == len(BAD_NAMES) and {one.reason for one in refusals} == {"its name points out of the archive", "a hidden file"}
    assert not any("etc" in f"{one.place}{one.reason}" for one in refusals)


def test_links_devices_and_sparse_members_are_refused(take: Take) -> None:
    links = (("l.txt", tarfile.SYMTYPE), ("h.txt", tarfile.LNKTYPE), ("d.txt", tarfile.CHRTYPE), ("f.txt", tarfile.FIFOTYPE))
    records, refusals = take("a.tgz", _tar([("a.txt", b"words")], links=links))
    assert len(records) == 1 and [one.reason for one in refusals] == ["a link or a special file"] * 4
    info = zipfile.ZipInfo("l.txt")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert take("a.zip", made.getvalue())[1][0].reason == "a link or a special file"


def test_an_encrypted_member_costs_only_itself(take: Take) -> None:
    content = bytearray(_zip([("secret.txt", b"words"), ("open.txt", b"words")]))
    content[6] |= 1
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1
    records, refusals = take("a.zip", bytes(content))
    assert [one.key for one in records] == ["open"]
    assert [(one.place, one.reason) for one in refusals] == [("member 1 (.txt)", "encrypted: deliver it without a password")]


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_stopped_and_the_rest_stays(take: Take, packing: int) -> None:
    content = _zip([("bomb.txt", b"A" * 40_000_000), ("good.txt", b"words")], packing)
    assert len(content) < 100_000
    records, refusals = take("a.zip", content)
    assert [one.key for one in records] == ["good"]
    assert [(one.place, one.reason) for one in refusals] == [("member 1 (.txt)", "decompresses to more than 200 times its size")]


def test_a_tar_bomb_is_stopped(take: Take) -> None:
    records, refusals = take("a.tgz", _tar([("good.txt", b"words"), ("bomb.txt", b"A" * 40_000_000), ("late.txt", b"x")]))
    assert [one.key for one in records] == ["good"] and len(refusals) == 1 and "200 times" in refusals[0].reason


def test_members_together_have_a_limit(take: Take) -> None:
    noise = random.Random(7)  # noqa: S311
    members = [(f"{number}.txt", "".join(noise.choices("abcdefgh ", k=400_000)).encode()) for number in range(5)]
    for name, content in (("a.zip", _zip(members)), ("a.tgz", _tar(members))):
        records, refusals = take(name, content, limits={"expanded_mb": 1})
        assert len(records) == 2 and all("decompresses to more than 1 MB" in one.reason for one in refusals)
        assert len(refusals) == (3 if name == "a.zip" else 1)
    many = [(f"{number}.txt", b"x") for number in range(20)]
    assert take("a.zip", _zip(many), limits={"members": 10})[1][0].reason == "the archive holds more than 10 members"
    records, refusals = take("a.tgz", _tar(many), limits={"members": 10})
    assert len(records) == 10 and len(refusals) == 1


def test_a_size_that_lies_is_found_out(take: Take) -> None:
    content = bytearray(_zip([("a.txt", b"A" * 5000), ("b.txt", b"words")]))
    directory = content.index(b"PK\x01\x02")
    for place in (22, directory + 24):
        content[place : place + 4] = struct.pack("<I", 10)
    records, refusals = take("a.zip", bytes(content))
    assert [one.key for one in records] == ["b"] and "damaged" in refusals[0].reason
    assert "larger than" in take("a.zip", _zip([("a.txt", b"ab" * 600)]), max_file_mb=0.001)[1][0].reason


@pytest.mark.parametrize(("name", "content"), [("a.zip", _zip(MIXED)), ("a.tgz", _tar(MIXED)), ("a.tar", _tar(MIXED, "w"))])
def test_an_archive_cut_short_anywhere_has_a_reason(take: Take, name: str, content: bytes) -> None:
    for cut in range(30, len(content) - 30, max(1, len(content) // 23)):
        _, refusals = take(name, content[:cut])
        assert refusals and not any("its reader failed" in one.reason for one in refusals), cut
    if name == "a.tar":
        # The directory of a zip is at its end: without it nothing is sure. A tar is read as far as it goes.
        records, _ = take(name, content[:6000])
        assert {one.key for one in records} >= {"note", "1"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", b"PK\x03\x04nothing", "cut short"),
        ("a.zip", b"hello", "cut short"),
        ("a.zip", _zip([]), "empty"),
        ("a.tar", b"hello", "not readable as tar"),
        ("a.tgz", gzip.compress(b"hello", mtime=0), "not readable as tar"),
        ("a.tgz", b"hello", "not readable as tar"),
        ("a.tar", _tar([], "w"), "empty"),
        ("a.tar.gz", _zip(MIXED), "not what its name says"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c", "pack it as zip or tar"),
        ("a.gz", gzip.compress(b"hello", mtime=0), "not taken"),
    ],
)
def test_what_is_no_archive_is_one_refusal(take: Take, name: str, content: bytes, reason: str) -> None:
    records, refusals = take(name, content)
    assert records == [] and len(refusals) == 1 and reason in refusals[0].reason


def test_two_members_of_one_name_are_both_read(take: Take) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a.txt", "first")
        archive.writestr("a.txt", "second")
    assert [one.text for one in take("a.zip", made.getvalue())[0]] == ["first", "second"]


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_real_consultations_come_out_of_an_archive_as_loose_ones_do(shared_data: Path, tmp_path: Path, take_path: Take, kind: str) -> None:
    files = sorted((shared_data / "primock57" / "transcripts").glob("day1*.TextGrid"))
    loose = [one for path in files for one in take_path(path)[0]]
    content = (_zip if kind == "zip" else _tar)([(f"day1/{path.name}", path.read_bytes()) for path in files])
    (tmp_path / f"day1.{kind}").write_bytes(content)
    records, refusals = take_path(tmp_path / f"day1.{kind}")
    assert refusals == [] and len(records) == len(loose) == 15
    assert sorted((one.key, one.text) for one in records) == sorted((one.key, one.text) for one in loose)
