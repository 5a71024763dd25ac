"""Asks the gateway over HTTP, as any client would: the command line, the canary and the demo."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from pipelines.config import Settings, domain_names
from pipelines.errors import BadInput, NotAllowed, RatchetError, Unavailable

SITE_KEY = "site"
"""Name of the key that the site itself asks with; it may name candidates that are not live."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One client of the gateway."""

    url: str
    key: str = field(repr=False)

    @classmethod
    def for_site(cls, settings: Settings) -> Caller:
        """The site's own client; its key is made at the first use and kept with the other secrets."""
        from pipelines.serving.keys import issue_key

        path = settings.secrets / "site_api_key"
        if not path.exists():
            key = issue_key(settings, SITE_KEY, domain_names(settings), candidates=True)
            settings.secrets.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.touch(mode=0o600)
            temporary.write_text(key, encoding="utf-8")
            temporary.rename(path)
        return cls(settings.url("gateway"), path.read_text(encoding="utf-8").strip())

    def ask(self, model: str, question: str, as_of: str | None = None) -> dict[str, Any]:
        """One chat completion of a domain (`regulatory`) or an exact release (`regulatory/r3`)."""
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
        if as_of is not None:
            body["as_of"] = as_of
        return self._call("/v1/chat/completions", body)

    def models(self) -> dict[str, dict[str, Any]]:
        """What the gateway can answer with, by id."""
        return {model["id"]: model for model in self._call("/v1/models", None)["data"]}

    def wait_for(self, candidate_id: str, seconds: float) -> None:
        """Until the gateway has the candidate's parts in memory."""
        self._wait(lambda: candidate_id in self.models(), f"the gateway to load {candidate_id}", seconds)

    def wait_live(self, domain: str, candidate_id: str, seconds: float) -> None:
        """Until the gateway answers the domain with this release."""
        self._wait(lambda: self.models().get(domain, {}).get("release") == candidate_id, f"the gateway to serve {candidate_id}", seconds)

    def _wait(self, look: Any, what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not look():
            if time.monotonic() > deadline:
                raise Unavailable(f"waited {seconds:.0f} s for {what}", where=self.url, todo="see var/logs/gateway.log")
            time.sleep(0.1)

    def _call(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own gateway's URL
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                value: dict[str, Any] = json.loads(reply.read())
                return value
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except OSError as error:
            raise Unavailable(f"the gateway does not answer: {error}", where=self.url, todo="`ratchet up`, then `ratchet status`") from None


def _refusal(error: urllib.error.HTTPError) -> RatchetError:
    try:
        message = json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"the gateway answered {error.code}"
    kind = {400: BadInput, 404: BadInput, 413: BadInput, 401: NotAllowed, 403: NotAllowed, 503: Unavailable}.get(error.code, RatchetError)
    return kind(str(message))
