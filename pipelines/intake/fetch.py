"""HTTP from sources that are slow, busy, broken or hostile.

- Tries again with exponential back-off and jitter; a `Retry-After` on 429 and 503 is obeyed, and one longer than we care to wait ends the
  run instead: the next one comes by itself.
- A body cut short is taken up where it ended, when the server takes `Range` and can say that the file is still the same one (`If-Range`);
  else it is fetched anew. What arrives must be as long as `Content-Length` says, and no larger than the source's limit.
- Every address, those of redirects and of links in answers too, must be http(s) on a host that the domain file names. Headers that
  hold a secret go to the source's own host only.
- Errors and logs name the host and never the rest of an address: queries and paths may hold keys.
"""

from __future__ import annotations

import json
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from pipelines.errors import ArrivalRefused, ConfigError, NotAllowed, NotFound, Unavailable
from pipelines.source_config import Http

Params = Sequence[tuple[str, str]]
Result = TypeVar("Result")

MAX_REDIRECTS = 5
BUSY = (429, 503)
BROKEN = (408, 425, 500, 502, 504)
NO_ADDRESS = (httpx.InvalidURL, ValueError)
"""What httpx raises for a malformed address: a ValueError where it comes from `urllib` or `idna`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that was read whole."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Unavailable when it is none: a proxy's error page, most often."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Unavailable("the answer is not JSON", todo="look at the source's status page; it is tried again") from None


class _Again(Exception):
    """This try failed and another may not. `progress`: it brought us further, so it does not count."""

    def __init__(self, why: str, *, wait: float | None = None, progress: bool = False) -> None:
        super().__init__(why)
        self.why, self.wait, self.progress = why, wait, progress


class Fetcher:
    """Requests to one source. Use as a context manager."""

    def __init__(
        self,
        http: Http,
        url: str,
        *,
        hosts: Sequence[str] = (),
        secret_headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # httpx logs whole addresses at INFO, and Airflow shows INFO.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.sleep = sleep
        self._http, self._base = http, httpx.URL(url)
        self._hosts = {_place(self._base), *(host.lower() for host in hosts)}
        self._secret_headers = dict(secret_headers or {})
        self._limit = int(http.max_mb * 1_000_000)
        self._client = httpx.Client(
            timeout=http.timeout_seconds,
            trust_env=http.trust_env,
            verify=ssl.create_default_context(cafile=str(http.ca_file)) if http.ca_file else True,
            headers={"User-Agent": _user_agent(http.contact)},
            follow_redirects=False,
        )

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def get(self, url: str, params: Params = (), headers: Mapping[str, str] | None = None, accept: Sequence[int] = (200,)) -> Answer:
        """A response held in memory: listings, manifests."""
        return self.send("GET", url, params, headers, accept)

    def send(
        self, method: str, url: str, params: Params = (), headers: Mapping[str, str] | None = None, accept: Sequence[int] = (200,)
    ) -> Answer:
        """Like `get`, with any method."""

        def once(deadline: float) -> Answer:
            with self._open(method, url, params, headers or {}) as response:
                self._judge(response, accept)
                body = b"".join(self._body(response, deadline, 0))
                return Answer(response.status_code, response.headers, body)

        return self._patiently(once, url)

    def download(
        self, url: str, target: Path, params: Params = (), headers: Mapping[str, str] | None = None, *, secret: bool = True
    ) -> int:
        """Stream a body into a file; returns its bytes. Nothing is left of a download that fails. `secret=False` keeps our key back."""
        part = _Part()
        target.unlink(missing_ok=True)

        def once(deadline: float) -> int:
            have = target.stat().st_size if part.validator and target.exists() else 0
            more = {"Accept-Encoding": "identity", **(headers or {})}
            if have:
                more |= {"Range": f"bytes={have}-", "If-Range": part.validator}
            with self._open("GET", url, params, more, secret=secret) as response:
                if have and response.status_code == 416:
                    part.validator = ""
                    raise _Again("the rest of the file cannot be had")
                self._judge(response, (200, 206) if have else (200,))
                total = part.begin(response, have)
                with target.open("ab" if response.status_code == 206 else "wb") as file:
                    begun = file.tell()
                    try:
                        for piece in self._body(response, deadline, begun):
                            file.write(piece)
                    except _Again as again:
                        again.progress = bool(part.validator) and file.tell() > have
                        raise
                    size = file.tell()
            if total is not None and size != total:
                part.validator = ""
                raise _Again(f"{size} of {total} bytes came")
            return size

        try:
            return self._patiently(once, url)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def resolve(self, place: str) -> str:
        """An address that the source names, whole. ConfigError where it may not lead us there."""
        return str(self._allowed(place, self._base))

    # --- one try ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, method: str, url: str, params: Params, headers: Mapping[str, str], *, secret: bool = True) -> Iterator[httpx.Response]:
        target = self._allowed(url)
        if params:
            target = target.copy_merge_params(list(params))
        for _ in range(MAX_REDIRECTS + 1):
            own = self._secret_headers if secret and _place(target) == _place(self._base) else {}
            request = self._client.build_request(method, target, headers={**headers, **own})
            try:
                response = self._client.send(request, stream=True)
            except httpx.RequestError as error:
                raise _Again(f"no answer ({type(error).__name__})") from None
            except NO_ADDRESS:  # httpx looks at a `Location` even where it does not follow it
                raise self._no_address() from None
            try:
                if not response.has_redirect_location:
                    yield response
                    return
                target = self._allowed(response.headers["location"], target)
                method = "GET" if response.status_code == 303 else method
            finally:
                response.close()
        raise ConfigError("too many redirects", where=self._base.host, todo="name the final address in the domain file")

    def _allowed(self, url: str, base: httpx.URL | None = None) -> httpx.URL:
        todo = "if that is right, name the host under `hosts` of this source"
        try:
            target = httpx.URL(url) if base is None else base.join(url)
            place = _place(target)
        except NO_ADDRESS:
            raise self._no_address() from None
        if target.scheme not in ("http", "https") or (self._base.scheme == "https" and target.scheme != "https"):
            raise ConfigError(f"the source leads to a {target.scheme or 'relative'} address", where=self._base.host, todo="only http(s)")
        if place not in self._hosts and target.host.lower() not in self._hosts:
            raise ConfigError(f"the source leads to another host, {target.host}", where=self._base.host, todo=todo)
        if target.userinfo:
            raise ConfigError("the source leads to an address with a password", where=self._base.host)
        return target

    def _no_address(self) -> ConfigError:
        return ConfigError("the source leads to something that is no address", where=self._base.host)

    def _judge(self, response: httpx.Response, accept: Sequence[int]) -> None:
        status, where = response.status_code, response.url.host
        if status in accept:
            return
        if status in BUSY:
            raise _Again(f"it is busy (HTTP {status})", wait=retry_after(response.headers))
        if status in BROKEN:
            raise _Again(f"HTTP {status}")
        if status in (401, 403):
            raise NotAllowed(f"the source refuses our key (HTTP {status})", where=where, todo="check the variable that holds it")
        if status in (404, 410):
            raise NotFound(f"the source has nothing there (HTTP {status})", where=where)
        raise ConfigError(f"the source refuses the request (HTTP {status})", where=where, todo="check this source in the domain file")

    def _body(self, response: httpx.Response, deadline: float, begun: int) -> Iterator[bytes]:
        """The body in pieces, unpacked; raises when it is too long, too slow, or shorter than announced."""
        size = begun
        too_large = ArrivalRefused(
            f"larger than {self._http.max_mb:g} MB", where=response.url.host, todo="raise http.max_mb of this source"
        )
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and begun + int(declared) > self._limit:
            raise too_large
        try:
            for piece in response.iter_bytes():  # as it comes: in pieces of one size, the last would be lost when it breaks off
                size += len(piece)
                if size > self._limit:
                    raise too_large
                yield piece
                if time.monotonic() > deadline:
                    raise Unavailable("it sends too slowly", where=response.url.host, todo="it is tried again")
        except httpx.RequestError as error:
            raise _Again(f"the answer broke off ({type(error).__name__})") from None
        if declared.isdigit() and response.num_bytes_downloaded != int(declared):
            raise _Again(f"{response.num_bytes_downloaded} of {declared} bytes came")

    # --- many tries ---------------------------------------------------------------------------------------------------

    def _patiently(self, once: Callable[[float], Result], url: str) -> Result:
        began = time.monotonic()
        deadline = began + self._http.total_seconds
        failed = 0
        where = self._host(url)
        while True:
            try:
                return once(deadline)
            except _Again as again:
                failed = 1 if again.progress else failed + 1
                why, wait = again.why, again.wait
            # Full jitter: many collectors that failed together must not come back together.
            backoff = self._http.backoff_seconds * 2.0 ** (failed - 1)
            pause = max(wait or 0.0, random.uniform(0.5, 1.0) * min(backoff, self._http.max_wait_seconds))  # noqa: S311
            todo = "the next run goes on where this one stopped"
            if wait is not None and wait > self._http.max_wait_seconds:
                raise Unavailable(f"{why} and asks for {wait:.0f} seconds of patience", where=where, todo=todo)
            if failed >= self._http.attempts or time.monotonic() + pause > deadline:
                raise Unavailable(f"{why}, after {failed} tries" if failed > 1 else why, where=where, todo=todo)
            self.sleep(pause)

    def _host(self, url: str) -> str:
        try:
            return httpx.URL(url).host or self._base.host
        except NO_ADDRESS:
            return self._base.host


class _Part:
    """Whether a file that came in part can be taken up again: the validator that says it is still the same file."""

    def __init__(self) -> None:
        self.validator = ""

    def begin(self, response: httpx.Response, have: int) -> int | None:
        """Read a response's headers; returns the whole file's length, where told."""
        headers = response.headers
        if response.status_code == 206:
            unit, _, rest = headers.get("content-range", "").partition(" ")
            span, _, whole = rest.partition("/")
            if unit != "bytes" or span.partition("-")[0] != str(have):
                self.validator = ""
                raise _Again("it sent another part than was asked for")
            return int(whole) if whole.isdigit() else None
        etag, modified = headers.get("etag", ""), headers.get("last-modified", "")
        packed = headers.get("content-encoding", "identity") != "identity"
        takes_ranges = "bytes" in headers.get("accept-ranges", "") and not packed
        self.validator = (etag if etag.startswith('"') else modified) if takes_ranges else ""
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` asks for, written as a number or as a date; None without one."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _place(url: httpx.URL) -> str:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
    return f"{url.host.lower()}:{port}"


def _user_agent(contact: str | None) -> str:
    try:
        number = version("ratchet")
    except PackageNotFoundError:
        number = "0"
    words = "".join(c for c in contact or "" if c.isprintable() and c.isascii() and c not in "()\\")
    return f"Ratchet/{number} (collects published text{'; ' + words if words else ''})"
