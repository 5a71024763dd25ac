import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from pipelines.masking.leaks import find


def test_planted_strings_are_found_in_text_names_columns_and_databases(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("seen by JANE doe today")
    (tmp_path / "clean.txt").write_text("seen by [NAME] today")
    (tmp_path / "jane doe.json").write_text("{}")
    parquet.write_table(pa.table({"text": ["x" * 1000, "of Jane Doe"]}), tmp_path / "rows.parquet", compression="zstd")
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table t (x text)")
        database.execute("insert into t values ('Jane Doe')")
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped" / "raw.txt").write_text("Jane Doe")
    found = find(tmp_path, ["Jane Doe", "nobody"], skip=(tmp_path / "skipped",))
    assert {path.name for path in found} == {"log.txt", "jane doe.json", "rows.parquet", "a.db"}
    assert set().union(*found.values()) == {"Jane Doe"}


def test_a_search_for_nothing_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("anything")
    assert find(tmp_path, []) == find(tmp_path, [" "]) == {}
