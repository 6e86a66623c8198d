"""A set as one Parquet file in the Hugging Face layout; the only file with pyarrow.

Row groups are spooled beside it as small files that are wholly there or not at all; when all are there the table is written from
them at once and renamed into place. So an interrupted run can be continued, and its bytes are those of an uninterrupted one.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from twofold.files import atomic_file, write_atomic
from twofold.service.datasets.claim import check_same, claimed
from twofold.service.datasets.image_folder import Render, Report
from twofold.service.datasets.plan import Plan, Tally, chunks
from twofold.service.runtime.errors import Invalid

_ABOUT = b"twofold"  # key of the plan in the schema's metadata


def write(plan: Plan, about: str, render: Render, out: Path, report: Report) -> Tally:
    """Make what is missing of the set that becomes the file `out`. Raises Invalid when it is something else already, and OSError."""
    out.parent.mkdir(parents=True, exist_ok=True)
    schema, spool = _schema(plan, about), out.with_name(f".{out.name}.spool")
    if out.exists():
        tally = _of_finished(plan, about, out)
        shutil.rmtree(spool, ignore_errors=True)  # killed between the rename and this
        report(len(plan))
        return tally
    tally = Tally(plan)
    with claimed(spool, about):
        for piece, numbers in enumerate(chunks(plan)):
            file = spool / f"{piece:06d}.parquet"
            rows = _read(file)
            found = rows is not None
            if rows is None:
                rows = _rows(plan, numbers, render(numbers), schema)
                write_atomic(file, _encoded(rows))
            _count(tally, rows, found=found)
            report(numbers.stop)
        _join(sorted(spool.glob("*.parquet")), schema, out)
        shutil.rmtree(spool)
    return tally


def _schema(plan: Plan, about: str) -> pa.Schema:
    features = {"image": {"_type": "Image"}, "label": {"names": list(plan.class_names), "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode(), _ABOUT: about.encode()}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.schema([("image", image), ("label", pa.int64())], metadata=metadata)


def _rows(plan: Plan, numbers: range, made: list[bytes | None], schema: pa.Schema) -> pa.Table:
    kept = [(plan[number], data) for number, data in zip(numbers, made, strict=True) if data is not None]
    images = [{"bytes": data, "path": picture.file} for picture, data in kept]
    return pa.Table.from_pydict({"image": images, "label": [picture.label for picture, _ in kept]}, schema=schema)


def _writer(file: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """PNG bytes are compressed and unlike one another: no second compression, no dictionary, no smallest and largest picture."""
    return pq.ParquetWriter(file, schema, compression="none", use_dictionary=False, write_statistics=["label"])


def _encoded(rows: pa.Table) -> bytes:
    stream = io.BytesIO()
    with _writer(stream, rows.schema) as writer:
        writer.write_table(rows)
    return stream.getvalue()


def _read(file: Path) -> pa.Table | None:
    """The rows of a spooled piece; None when it isn't there, or isn't whole (after a power failure)."""
    try:
        return pq.ParquetFile(file).read()
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def _join(pieces: list[Path], schema: pa.Schema, out: Path) -> None:
    """One row group per piece, on the disk before it has its name."""
    with atomic_file(out) as file:
        with _writer(file, schema) as writer:
            for piece in pieces:
                rows = pq.ParquetFile(piece).read()
                if len(rows):
                    writer.write_table(rows, row_group_size=len(rows))
        file.flush()
        os.fsync(file.fileno())


def _of_finished(plan: Plan, about: str, out: Path) -> Tally:
    """What a file that is there already holds. Raises Invalid unless it is the set of this plan."""
    try:
        file = pq.ParquetFile(out)
        found = (file.schema_arrow.metadata or {}).get(_ABOUT, b"").decode(errors="replace")
    except (OSError, pa.ArrowInvalid):
        found = ""
    if not found:
        raise Invalid(f"{out.name} is there and holds no set; choose another --out", field="out")
    check_same(out, found, about)
    tally = Tally(plan)
    _count(tally, file.read(["label"]), found=True)
    return tally


def _count(tally: Tally, rows: pa.Table, *, found: bool) -> None:
    for label in rows["label"].to_pylist():
        tally.add(label, found=found)
