"""CSV and Parquet: a record per row, read as a stream."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from pipelines.intake.formats import rows
from pipelines.intake.formats.files import MB, Bad, File, Found, Job, lines, require_size, seekable
from pipelines.intake.records import Refusal

_BATCH = 16


def read_csv(file: File, job: Job) -> Found:
    """Rows under a header that holds the domain's columns. A broken row is refused by number, and so is a header that comes again."""
    require_size(file, job)
    # The module's own default, 131,072 characters, is less than a long dialogue.
    csv.field_size_limit(int(2 * job.limits.record_mb * MB))
    table = csv.reader(_whole_lines(file, job), strict=True, delimiter=job.sources.delimiter)
    try:
        header = next(table, None)
    except csv.Error:
        raise Bad("line 1", "not readable as CSV") from None
    if header is None:
        raise Bad("", "the file is empty")
    if len(set(header)) < len(header):
        raise Bad("header", "two columns have one name")
    if missing := [name for name in rows.needed(job.sources) if name not in header]:
        raise Bad("header", f"columns are missing: {', '.join(missing)}")
    number = 0
    while True:
        place = f"row {number + 1}"
        try:
            row = next(table, None)
        except csv.Error:
            # After a broken quote nothing is certain about where rows begin.
            raise Bad(place, "not readable as CSV from here on") from None
        if row is None:
            break
        if not row:
            continue
        number += 1
        if len(row) != len(header):
            yield Refusal(place, "the row has more or fewer fields than the header")
        elif row == header:
            yield Refusal(place, "the header comes again")
        else:
            yield rows.record(dict(zip(header, row, strict=True)), job.sources, job.effective, place)
    if number == 0:
        raise Bad("", "the file holds a header and no rows")


def _whole_lines(file: File, job: Job) -> Iterator[str]:
    for line in lines(file, job):
        if line is None:
            raise Bad("", f"a line is longer than a record of {job.limits.record_mb:g} MB can be")
        yield line


def read_parquet(file: File, job: Job) -> Found:
    """Rows of a Parquet file that holds the domain's columns, a few at a time."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with seekable(file, job) as stream:
        try:
            table = parquet.ParquetFile(stream, memory_map=False, pre_buffer=False)
            names = table.schema_arrow.names
            groups = table.metadata.num_row_groups
            size = sum(table.metadata.row_group(index).total_byte_size for index in range(groups))
        except MemoryError:
            raise  # Arrow's own is also one of its exceptions
        except (pa.ArrowException, OSError, ValueError):
            raise Bad("", "not readable as Parquet: damaged or cut short") from None
        if size > job.limits.expanded_mb * MB:
            raise Bad("", f"its rows take more than {job.limits.expanded_mb:g} MB")
        if len(set(names)) < len(names):
            raise Bad("schema", "two columns have one name")
        if missing := [name for name in rows.needed(job.sources) if name not in names]:
            raise Bad("schema", f"columns are missing: {', '.join(missing)}")
        batches = table.iter_batches(_BATCH, columns=rows.needed(job.sources), use_threads=False)
        number = 0
        while True:
            try:
                batch = next(batches, None)
                values = [] if batch is None else batch.to_pylist()
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError):
                raise Bad(f"row {number + 1}", "not readable as Parquet from here on") from None
            if batch is None:
                break
            for row in values:
                number += 1
                yield rows.record(row, job.sources, job.effective, f"row {number}")
        if number == 0:
            raise Bad("", "the file holds no rows")
