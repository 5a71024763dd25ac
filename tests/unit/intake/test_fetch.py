"""Fetching from a server that is busy, broken, slow or hostile."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from source_server import Asked, Reply, Server, serving

from pipelines.errors import ArrivalRefused, ConfigError, NotAllowed, NotFound, Unavailable
from pipelines.intake.fetch import Fetcher, retry_after
from pipelines.source_config import Http

BODY = bytes(range(256)) * 40


class Patience:
    """Pauses that were asked for, none of them slept."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def patience() -> Patience:
    return Patience()


@pytest.fixture
def fetcher(source_server: Server, patience: Patience) -> Iterator[Callable[..., Fetcher]]:
    with ExitStack() as stack:

        def make(http: Http = Http(), **more: object) -> Fetcher:
            return stack.enter_context(Fetcher(http, source_server.url, sleep=patience, **more))  # type: ignore[arg-type]

        yield make


def test_busy_then_answered_after_the_pause_it_asked_for(
    source_server: Server, fetcher: Callable[..., Fetcher], patience: Patience
) -> None:
    source_server.on("/list", Reply(429, headers={"Retry-After": "7"}), Reply(503, headers={"Retry-After": "3"}), Reply(body=b"[1]"))
    assert fetcher().get(f"{source_server.url}/list").json() == [1]
    assert patience.pauses == [7, 3]


def test_a_retry_after_beyond_our_patience_ends_the_run(source_server: Server, fetcher: Callable[..., Fetcher], patience: Patience) -> None:
    source_server.on("/list", Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(Unavailable, match="3600 seconds of patience"):
        fetcher().get(f"{source_server.url}/list")
    assert patience.pauses == [] and len(source_server.asked) == 1


def test_retry_after_as_a_date_or_as_nonsense() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    assert 95 < (retry_after({"retry-after": format_datetime(soon, usegmt=True)}) or 0) <= 100
    assert retry_after({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is None and retry_after({}) is None


def test_broken_then_well_with_growing_pauses(source_server: Server, fetcher: Callable[..., Fetcher], patience: Patience) -> None:
    source_server.on("/x", Reply(500), Reply(502), Reply(504), Reply(body=b"ok"))
    assert fetcher().get(f"{source_server.url}/x").body == b"ok"
    for pause, top in zip(patience.pauses, (0.5, 1.0, 2.0), strict=True):
        assert top / 2 <= pause <= top


def test_broken_for_good(source_server: Server, fetcher: Callable[..., Fetcher]) -> None:
    source_server.on("/x", Reply(500))
    with pytest.raises(Unavailable, match="HTTP 500, after 3 tries"):
        fetcher(Http(attempts=3)).get(f"{source_server.url}/x")
    assert len(source_server.asked) == 3


def test_nobody_listens() -> None:
    with serving() as gone:
        url = gone.url
    with Fetcher(Http(attempts=2), url, sleep=lambda _: None) as fetcher, pytest.raises(Unavailable, match="no answer"):
        fetcher.get(f"{url}/x")


@pytest.mark.parametrize(("status", "kind"), [(401, NotAllowed), (403, NotAllowed), (404, NotFound), (410, NotFound), (400, ConfigError)])
def test_a_refusal_is_not_tried_again(source_server: Server, fetcher: Callable[..., Fetcher], status: int, kind: type[Exception]) -> None:
    source_server.on("/x", Reply(status))
    with pytest.raises(kind):
        fetcher().get(f"{source_server.url}/x")
    assert len(source_server.asked) == 1


def _ranged(asked: Asked, *, cut: int | None, etag: str = '"v1"', body: bytes = BODY) -> Reply:
    headers = {"Accept-Ranges": "bytes", "ETag": etag}
    if "range" not in asked.headers:
        return Reply(200, body, headers, sent=cut)
    if asked.headers.get("if-range") != etag:
        return Reply(200, body, headers)
    start = int(asked.headers["range"].removeprefix("bytes=").rstrip("-"))
    return Reply(206, body[start:], headers | {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}, sent=cut)


def test_a_body_cut_short_is_taken_up_where_it_ended(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    source_server.on(
        "/file", lambda asked: _ranged(asked, cut=4000), lambda asked: _ranged(asked, cut=3000), lambda a: _ranged(a, cut=None)
    )
    assert fetcher().download(f"{source_server.url}/file", tmp_path / "f") == len(BODY)
    assert (tmp_path / "f").read_bytes() == BODY
    ranges = [asked.headers.get("range") for asked in source_server.asked]
    assert ranges == [None, "bytes=4000-", "bytes=7000-"]


def test_progress_does_not_count_as_a_failure(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    source_server.on("/file", lambda asked: _ranged(asked, cut=1000))
    assert fetcher(Http(attempts=2)).download(f"{source_server.url}/file", tmp_path / "f") == len(BODY)
    assert len(source_server.asked) == 11


def test_a_file_that_changed_meanwhile_is_fetched_anew(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    other = BODY[::-1]
    source_server.on("/file", lambda asked: _ranged(asked, cut=4000), lambda asked: _ranged(asked, cut=None, etag='"v2"', body=other))
    fetcher().download(f"{source_server.url}/file", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == other


@pytest.mark.parametrize("headers", [{}, {"Accept-Ranges": "bytes", "ETag": 'W/"weak"'}, {"Accept-Ranges": "none", "ETag": '"v1"'}])
def test_without_ranges_it_starts_over(
    source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path, headers: dict[str, str]
) -> None:
    source_server.on("/file", Reply(200, BODY, headers, sent=5000), Reply(200, BODY, headers))
    fetcher().download(f"{source_server.url}/file", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY
    assert all("range" not in asked.headers for asked in source_server.asked)


@pytest.mark.parametrize("answer", [Reply(416), Reply(206, BODY[:10], {"Content-Range": "bytes 0-9/10240"})])
def test_a_range_that_is_not_what_was_asked_for_starts_over(
    source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path, answer: Reply
) -> None:
    source_server.on("/file", lambda asked: _ranged(asked, cut=4000), answer, lambda asked: _ranged(asked, cut=None))
    fetcher().download(f"{source_server.url}/file", tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


def test_always_cut_short_leaves_nothing(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    source_server.on("/file", Reply(200, BODY, sent=100))
    with pytest.raises(Unavailable, match="broke off"):
        fetcher(Http(attempts=2)).download(f"{source_server.url}/file", tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("declared", [True, False])
def test_too_large(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path, declared: bool) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(BODY), BODY)
    chunked = Reply(200, chunk + b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})
    source_server.on("/file", Reply(200, BODY) if declared else _without_length(chunked))
    with pytest.raises(ArrivalRefused, match=r"larger than 0\.01 MB"):
        fetcher(Http(max_mb=0.01)).download(f"{source_server.url}/file", tmp_path / "f")
    assert list(tmp_path.iterdir()) == [] and len(source_server.asked) == 1


def _without_length(reply: Reply) -> Reply:
    reply.headers["Content-Length"] = ""
    return reply


def test_a_packed_bomb_is_too_large(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    source_server.on("/file", Reply(200, gzip.compress(b"\0" * 3_000_000), {"Content-Encoding": "gzip"}))
    with pytest.raises(ArrivalRefused):
        fetcher(Http(max_mb=1)).download(f"{source_server.url}/file", tmp_path / "f")
    assert fetcher(Http(max_mb=4)).download(f"{source_server.url}/file", tmp_path / "f") == 3_000_000


def test_a_dribble_ends_at_the_deadline(source_server: Server, fetcher: Callable[..., Fetcher], tmp_path: Path) -> None:
    source_server.on("/file", Reply(200, BODY))
    with pytest.raises(Unavailable, match="too slowly"):
        fetcher(Http(total_seconds=1e-9)).download(f"{source_server.url}/file", tmp_path / "f")


def test_silence_ends_at_the_timeout(source_server: Server, fetcher: Callable[..., Fetcher]) -> None:
    def late(_: Asked) -> Reply:
        time.sleep(0.5)
        return Reply()

    source_server.on("/x", late)
    with pytest.raises(Unavailable, match="ReadTimeout"):
        fetcher(Http(timeout_seconds=0.05, attempts=1)).get(f"{source_server.url}/x")


def test_redirects_stay_on_the_named_hosts(source_server: Server, fetcher: Callable[..., Fetcher]) -> None:
    with serving() as other:
        other.on("/there", Reply(body=b"other"))
        source_server.on("/near", Reply(302, headers={"Location": "/here"}))
        source_server.on("/here", Reply(body=b"here"))
        source_server.on("/far", Reply(302, headers={"Location": f"{other.url}/there"}))
        assert fetcher().get(f"{source_server.url}/near").body == b"here"
        with pytest.raises(ConfigError, match="another host"):
            fetcher().get(f"{source_server.url}/far")
        assert other.asked == []
        secret = {"Authorization": "Bearer s3cret"}
        named = fetcher(hosts=[other.url.removeprefix("http://")], secret_headers=secret)
        assert named.get(f"{source_server.url}/far").body == b"other"
        assert source_server.asked[-1].headers["authorization"] == "Bearer s3cret"
        assert "authorization" not in other.asked[0].headers, "our key goes to the source's own host only"


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/latest", "//elsewhere.invalid/x"])
def test_redirects_elsewhere_are_refused(source_server: Server, fetcher: Callable[..., Fetcher], place: str) -> None:
    source_server.on("/x", Reply(302, headers={"Location": place}))
    with pytest.raises(ConfigError):
        fetcher().get(f"{source_server.url}/x")


def test_a_circle_of_redirects_ends(source_server: Server, fetcher: Callable[..., Fetcher]) -> None:
    source_server.on("/x", Reply(307, headers={"Location": "/x"}))
    with pytest.raises(ConfigError, match="too many redirects"):
        fetcher().get(f"{source_server.url}/x")


def test_https_is_not_left() -> None:
    with Fetcher(Http(), "https://source.example") as fetcher, pytest.raises(ConfigError, match="http address"):
        fetcher.get("http://source.example/x")


def test_no_secret_in_logs_or_errors(
    source_server: Server, fetcher: Callable[..., Fetcher], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    source_server.on("/s3cret", Reply(500))
    with caplog.at_level(logging.INFO), pytest.raises(Unavailable) as caught:
        fetcher(Http(attempts=2), secret_headers={"Authorization": "Bearer s3cret"}).get(f"{source_server.url}/s3cret?key=s3cret")
    assert "s3cret" not in str(caught.value) + caplog.text and caught.value.__cause__ is None
    assert source_server.asked[0].headers["authorization"] == "Bearer s3cret", "the proxy of the environment is not used"


def test_says_who_asks(source_server: Server, fetcher: Callable[..., Fetcher]) -> None:
    source_server.on("/x", Reply(body=b"not json"))
    answer = fetcher(Http(contact="data@example.org\r\nX-Evil: 1")).get(f"{source_server.url}/x")
    agent = source_server.asked[0].headers["user-agent"]
    assert agent.startswith("Ratchet/") and "data@example.org" in agent and "x-evil" not in source_server.asked[0].headers
    with pytest.raises(Unavailable, match="not JSON"):
        answer.json()


@pytest.mark.parametrize("place", ["http:foo", "http:////[", "http://xn--/", "/" + "a" * 65_530])
def test_a_redirect_to_no_address(source_server: Server, fetcher: Callable[..., Fetcher], place: str) -> None:
    source_server.on("/x", Reply(302, headers={"Location": place}))
    with pytest.raises(ConfigError, match="no address"):
        fetcher().get(f"{source_server.url}/x")


@pytest.mark.parametrize("url", ["http://xn--/", "http://[::1"])
def test_a_link_to_no_address(fetcher: Callable[..., Fetcher], url: str) -> None:
    with pytest.raises(ConfigError, match="no address"):
        fetcher().get(url)
