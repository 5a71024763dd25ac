"""Random surrogates that stay the same, in a file that says nothing without its key."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pipelines.errors import MaskingFailed
from pipelines.masking.vault import Vault


def _vault(folder: Path) -> Vault:
    return Vault(folder / "vault" / "surrogates.db", folder / "secrets" / "vault.key")


def test_the_same_value_has_the_same_surrogate_in_any_order_and_after_reopening(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    first, second = vault.surrogate("subject", "ana"), vault.surrogate("subject", "ben")
    again = _vault(tmp_path)
    assert (again.surrogate("subject", "ben"), again.surrogate("subject", "ana")) == (second, first)
    assert first != second and again.surrogate("key", "ana") != first
    assert len(first) == 12 and len(vault.surrogate("subject", "cleo", digits=8)) == 8


def test_surrogates_are_random_not_derived(tmp_path: Path) -> None:
    key = tmp_path / "secrets" / "vault.key"
    one = _vault(tmp_path).surrogate("subject", "ana")
    other = Vault(tmp_path / "other.db", tmp_path / "other.key")
    (tmp_path / "third.key").write_bytes(key.read_bytes())
    (tmp_path / "third.key").chmod(0o600)
    same_key = Vault(tmp_path / "third.db", tmp_path / "third.key")
    assert len({one, other.surrogate("subject", "ana"), same_key.surrogate("subject", "ana")}) == 3


def test_the_file_holds_neither_the_value_nor_its_surrogate_and_is_private(tmp_path: Path) -> None:
    surrogate = _vault(tmp_path).surrogate("subject", "Marta Lindqvist")
    data = (tmp_path / "vault" / "surrogates.db").read_bytes()
    assert b"Marta" not in data and surrogate.encode() not in data
    assert (tmp_path / "vault" / "surrogates.db").stat().st_mode & 0o077 == 0
    assert (tmp_path / "secrets" / "vault.key").stat().st_mode & 0o077 == 0


def test_a_vault_without_its_key_is_an_error_never_a_fresh_start(tmp_path: Path) -> None:
    _vault(tmp_path).surrogate("subject", "ana")
    key = tmp_path / "secrets" / "vault.key"
    right = key.read_bytes()
    key.unlink()
    with pytest.raises(MaskingFailed, match="key is missing"):
        _vault(tmp_path)
    from cryptography.fernet import Fernet

    key.write_bytes(Fernet.generate_key())
    key.chmod(0o600)
    with pytest.raises(MaskingFailed, match="cannot be opened"):
        _vault(tmp_path)
    key.write_bytes(right)
    key.chmod(0o644)
    with pytest.raises(MaskingFailed, match="read by others"):
        _vault(tmp_path)


def _draw(folder: Path, out: Path) -> None:
    out.write_text(" ".join(_vault(folder).surrogate("subject", f"person {n}") for n in range(20)))


def test_two_processes_draw_the_same_surrogates(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_draw, args=(tmp_path, tmp_path / f"{n}.txt")) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    drawn = {(tmp_path / f"{n}.txt").read_text() for n in range(2)}
    assert len(drawn) == 1 and len(set(drawn.pop().split())) == 20
