"""The traffic log: one JSON line per request of a domain, under `var/traffic/<domain>/<date>.jsonl`.

The question is kept only where the domain is public, and then without contact details and numbers that look like a person's. What
somebody asks of a domain with patients in it is not written anywhere.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

from pipelines.config import Settings


class TrafficLog:
    """Appends records; each line is one write, so that lines of several processes never mix."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.var / "traffic"
        self._open: dict[tuple[str, str], int] = {}

    def write(self, domain: str, record: dict[str, Any]) -> None:
        """Append one record, stamped with the present time."""
        import orjson

        moment = datetime.now(UTC)
        line = orjson.dumps({"at": moment.isoformat(timespec="milliseconds"), **record}) + b"\n"
        os.write(self._file(domain, moment.date().isoformat()), line)

    def close(self) -> None:
        """Close the files."""
        for handle in self._open.values():
            os.close(handle)
        self._open.clear()

    def _file(self, domain: str, day: str) -> int:
        if (domain, day) not in self._open:
            for old in [key for key in self._open if key[0] == domain]:
                os.close(self._open.pop(old))
            folder = self._folder / domain
            folder.mkdir(parents=True, exist_ok=True)
            self._open[domain, day] = os.open(folder / f"{day}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return self._open[domain, day]
