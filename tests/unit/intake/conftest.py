"""Small files in, text out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from pipelines.config import Format, Sources
from pipelines.intake.formats import RawRecord, Refusal, read

Taken = tuple[list[RawRecord], list[Refusal]]
Take = Callable[..., Taken]


def sources(**values: Any) -> Sources:
    return Sources.model_validate({"formats": get_args(Format), **values})


def taken(path: Path, **values: Any) -> Taken:
    found = list(read(path, sources(**values), effective="2014-01-01", where=""))
    return [one for one in found if isinstance(one, RawRecord)], [one for one in found if isinstance(one, Refusal)]


@pytest.fixture
def take(tmp_path: Path) -> Take:
    """`take(name, content, **sources)`: records and refusals of one file in a domain that takes every format."""

    def write_and_read(name: str, content: str | bytes, **values: Any) -> Taken:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return taken(path, **values)

    return write_and_read


@pytest.fixture
def take_path() -> Take:
    """The same for a file that is there."""
    return taken


def pdf_bytes(*pages: str | None) -> bytes:
    """A PDF of one line per page; None makes a page that only shows a picture, an empty text a blank one."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    image = "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>"
    objects.append(f"{image}\nstream\nA\nendstream")
    kids = []
    for text in pages:
        content = "q 100 0 0 100 0 0 cm /Im1 Do Q" if text is None else f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET" if text else ""
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R >> /XObject << /Im1 4 0 R >> >> >>"
        )
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    body, places = "%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{one}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode("latin-1")


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """`make_pdf("text of page 1", None, "")`: a text page, a scan, a blank page."""
    return pdf_bytes
