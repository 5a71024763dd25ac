"""Push: files delivered to the landing zone over HTTP, by whoever holds a key with the right to deliver to that domain.

PUT  /v1/arrivals/{domain}/{upload_id}/{filename}   one file, streamed to disk, its SHA-256 in a header
POST /v1/arrivals/{domain}/{upload_id}              seals them: {"source": "...", "effective": "YYYY-MM-DD"}
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hashlib
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from pydantic import Field
from sqlalchemy import select
from starlette.requests import ClientDisconnect

from pipelines.config import DomainConfig, Settings, domain_names, load_domain
from pipelines.errors import BadInput, ConfigError, NotAllowed, RatchetError, Unavailable
from pipelines.governance import audit
from pipelines.intake import uploads
from pipelines.serving import shapes
from pipelines.serving.access import Access
from pipelines.state.database import transaction
from pipelines.state.models import AuditEvent
from pipelines.strict import Strict

PIECE = 1 << 20
IDLE_SECONDS = 60.0
SEAL_BYTES = 16_384
CLEAN_SECONDS = 3600.0
ACTION = "arrival.uploaded"

Handler = Callable[[Request], Awaitable[Response]]


class Sealing(Strict):
    """The body of a POST; both may be left out."""

    source: Annotated[str, Field(min_length=1, max_length=120)] = "upload"
    effective: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None


def mount(app: FastAPI, settings: Settings, access: Access) -> None:
    """Add the routes to the gateway's application."""
    routes = _Routes(settings, access)
    app.add_route("/v1/arrivals/{domain}/{upload_id}/{filename}", _answered(routes.put), methods=["PUT"])
    app.add_route("/v1/arrivals/{domain}/{upload_id}", _answered(routes.seal), methods=["POST"])


async def keep_clean(settings: Settings) -> None:
    """Take abandoned uploads away, hourly, for as long as the gateway runs."""
    while True:
        with suppress(OSError):  # a disk that is away for a moment must not end the watch
            for name in domain_names(settings):
                await asyncio.to_thread(uploads.clean, settings.landing_zone / name)
        await asyncio.sleep(CLEAN_SECONDS)


class _Routes:
    def __init__(self, settings: Settings, access: Access) -> None:
        self._settings, self._access = settings, access

    async def put(self, request: Request) -> Response:
        upload = await self._upload(request)
        domain = await asyncio.to_thread(self._domain, request.path_params["domain"])
        limit = int(domain.sources.max_file_mb * 1_000_000)
        too_large = shapes.TooLarge(f"the file is larger than {domain.sources.max_file_mb:g} MB", where="body")
        wanted, name = _wanted(request), request.path_params["filename"]
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        part = await asyncio.to_thread(uploads.begin, upload, name, int(declared) if declared.isdigit() else 0)
        try:
            size, digest = await _receive(request, part, limit, too_large)
            if not size:
                raise BadInput("the file is empty", where=name, todo="deliver it once it has content")
            if digest != wanted:
                raise BadInput("what came is not what its SHA-256 says", where=name, todo="send it again")
            await asyncio.to_thread(uploads.keep, upload, part, name)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return shapes.reply(201, {"name": name, "bytes": size, "sha256": digest})

    async def seal(self, request: Request) -> Response:
        upload = await self._upload(request)
        domain = request.path_params["domain"]
        await asyncio.to_thread(self._domain, domain)
        body = await shapes.body(request, SEAL_BYTES, empty_ok=True)
        asked = shapes.parse(Sealing, body or b"{}", 'send {"source": "...", "effective": "YYYY-MM-DD"}')
        effective = asked.effective or self._settings.day()
        told, fresh = await asyncio.to_thread(uploads.seal, upload, source=asked.source, effective=effective)
        if told["folder"] is not None:
            await asyncio.to_thread(self._record_once, upload.uploader, f"{domain}/{told['folder']}", told)
        return shapes.reply(201 if fresh else 200, {"domain": domain, **told})

    async def _upload(self, request: Request) -> uploads.Upload:
        """Who uploads what to where. NotAllowed, audited, without the right to deliver there."""
        key = await self._access.caller(request)
        await self._access.admit(key)
        domain, upload_id = request.path_params["domain"], request.path_params["upload_id"]
        if not key.may_deliver(domain):
            self._access.refused(key, "deliver", domain)
            raise NotAllowed(f"the key of {key.name} may not deliver there", where="domain", todo="ask the platform engineer")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", upload_id):
            raise BadInput("not an upload id", where="upload_id", todo="up to 64 letters, digits, dots, underscores, hyphens")
        return uploads.Upload(self._settings.landing_zone / domain, key.actor, upload_id)

    def _domain(self, name: str) -> DomainConfig:
        try:
            return load_domain(name, self._settings)
        except ConfigError:
            # What is wrong with it, and where the file lies, is the site's own affair.
            raise Unavailable("this domain is not in order", todo="tell the platform engineer") from None

    def _record_once(self, uploader: str, subject: str, told: dict[str, Any]) -> None:
        """Record what was sealed, whichever call finds it unrecorded: the one that sealed it may have died before it came to this."""
        same = (AuditEvent.action == ACTION, AuditEvent.subject == subject, AuditEvent.actor == uploader)
        with transaction(self._settings) as session:
            if session.scalar(select(AuditEvent.seq).where(*same)) is None:
                # Not the caller's `source`: one who asks again may say another than was sealed.
                detail = {"seal": told["seal"], "files": told["files"]}
                audit.record(session, actor=uploader, action=ACTION, subject=subject, detail=detail)


def _answered(handler: Handler) -> Handler:
    """Errors in the gateway's shape. The connection is closed after one: the rest of a body may still be on its way."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except RatchetError as error:
            found = error
        except ClientDisconnect:
            found = BadInput("the body broke off", where="body", todo="send it again")
        except TimeoutError:
            found = BadInput(f"nothing came for {IDLE_SECONDS:g} seconds", where="body", todo="send it again")
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            found = Unavailable("the disk is full" if full else "the landing zone cannot be written", todo="try again later")
        status, body = shapes.fault(found)
        return shapes.reply(status, body, {"Connection": "close"} | ({"Retry-After": "60"} if status == 503 else {}))

    return answer


def _wanted(request: Request) -> str:
    """The SHA-256 a caller promises, in hex."""
    plain = request.headers.get("x-content-sha256", "").strip().lower()
    if re.fullmatch(r"[0-9a-f]{64}", plain):
        return plain
    named = re.search(r"sha-256=:([A-Za-z0-9+/=]{44}):", request.headers.get("content-digest", ""))
    if named is not None:
        with suppress(binascii.Error):
            return base64.b64decode(named.group(1), validate=True).hex()
    raise BadInput("the file's SHA-256 is missing", where="X-Content-SHA256", todo="send it in hex, or as Content-Digest (RFC 9530)")


async def _receive(request: Request, part: Path, limit: int, too_large: RatchetError) -> tuple[int, str]:
    """Write the body to disk in pieces, off the event loop: the gateway goes on answering meanwhile."""
    size, digest, held = 0, hashlib.sha256(), bytearray()
    stream = request.stream().__aiter__()
    with await asyncio.to_thread(part.open, "xb") as file:

        def flush(piece: bytes) -> None:
            digest.update(piece)
            file.write(piece)

        while True:
            try:
                piece = await asyncio.wait_for(anext(stream), IDLE_SECONDS)
            except StopAsyncIteration:
                break
            size += len(piece)
            if size > limit:
                raise too_large
            held += piece
            if len(held) >= PIECE:
                await asyncio.to_thread(flush, bytes(held))
                held.clear()
        await asyncio.to_thread(flush, bytes(held))
    return size, digest.hexdigest()
