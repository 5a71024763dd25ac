"""The expert profile: a certificate with a last day, and dates that move together."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from pipelines.config import Certificate, Privacy
from pipelines.errors import ConfigError, MaskingFailed
from pipelines.masking import dates
from pipelines.masking.mask import Masker
from pipelines.masking.vault import Vault

PRIVACY = Privacy(
    profile="expert", certificate=Certificate(id="EXP-7", expert="A. Statistician", expires=date(2026, 6, 30), max_shift_days=90)
)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "v.db", tmp_path / "v.key")


def _dates(text: str) -> list[date]:
    return [date.fromisoformat(one) for one in re.findall(r"\d{4}-\d{2}-\d{2}", text)]


def test_dates_of_one_subject_move_by_the_same_number_of_days_for_ever(vault: Vault) -> None:
    masker = Masker(PRIVACY, vault, today=date(2026, 6, 30))
    first = _dates(masker.mask("Seen 2014-03-04 and 2014-03-18.", ("Ana Quist",)).text)
    assert (first[1] - first[0]).days == 14 and 1 <= abs((first[0] - date(2014, 3, 4)).days) <= 90
    again = Masker(PRIVACY, vault, today=date(2026, 6, 30)).mask("Ana Quist, 2014-03-04", ("ana  quist",)).text
    assert _dates(again) == first[:1]
    moved = {_dates(masker.mask("2014-03-04", (f"Person {n}",)).text)[0] for n in range(12)}
    assert len(moved) > 4, "each subject has a shift of its own"


def test_without_a_subject_or_a_day_the_year_alone_stays(vault: Vault) -> None:
    masker = Masker(PRIVACY, vault, today=date(2026, 1, 1))
    assert masker.mask("Seen 2014-03-04.").text == "Seen 2014."
    assert masker.mask("Since March 2014; DOB 03/04/1921; aged 93.", ("Ana Quist",)).text == "Since 2014; DOB [DATE]; aged 90+."


def test_an_expired_certificate_stops_masking(vault: Vault) -> None:
    with pytest.raises(MaskingFailed, match="expired on 2026-06-30"):
        Masker(PRIVACY, vault, today=date(2026, 7, 1))
    masker = Masker(PRIVACY, vault, today=date(2026, 6, 30))
    masker._today = date(2026, 7, 1)
    with pytest.raises(MaskingFailed, match="expired"):
        masker.mask("nothing")


def test_the_profile_and_its_certificate_go_together(vault: Vault) -> None:
    from pipelines.parsing import parse

    with pytest.raises(ConfigError, match="certificate"):
        parse(Privacy, {"profile": "expert"}, "x.yaml")
    with pytest.raises(ConfigError, match="certificate"):
        parse(Privacy, {"profile": "public", "certificate": {"id": "a", "expert": "b", "expires": "2030-01-01"}}, "x.yaml")
    with pytest.raises(ConfigError, match=r"did you mean 'expires'"):
        parse(Privacy, {"profile": "expert", "certificate": {"id": "a", "expert": "b", "expire": "2030-01-01"}}, "x.yaml")
    with pytest.raises(MaskingFailed, match="needs a certificate"):
        Masker("expert", vault)


@pytest.mark.parametrize(
    ("written", "moved"),
    [
        ("2014-03-04", "2014-04-03"),
        ("2014-03-04T10:00Z", "2014-04-03T10:00Z"),
        ("12/20/2014", "01/19/2015"),
        ("20.12.2014", "19.01.2015"),
        ("March 3, 2014", "April 2, 2014"),
        ("3rd of March 2014", "2 April 2014"),
        ("MARCH 2014", None),
        ("3/4/14", None),
        ("2014-02-30", None),
    ],
)
def test_a_date_is_written_as_it_was(written: str, moved: str | None) -> None:
    assert dates.shift(written, 30) == moved
