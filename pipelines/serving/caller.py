"""Asks this site's own gateway, as its commands and release steps do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from pipelines.config import Settings
from pipelines.errors import BadInput, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.serving.keys import site_key

KINDS: dict[int, type[RatchetError]] = {400: BadInput, 401: NotAllowed, 403: NotAllowed, 404: NotFound, 413: BadInput}


@dataclass(frozen=True, slots=True)
class Caller:
    """The gateway's address and a key."""

    url: str
    key: str

    @classmethod
    def for_site(cls, settings: Settings) -> Caller:
        """With the site's own key, which may name candidates."""
        return cls(settings.url("gateway"), site_key(settings))

    def ask(self, model: str, question: str, as_of: str | None = None) -> dict[str, Any]:
        """The whole reply: OpenAI's fields and `ratchet`. `model` is a domain, or an exact release or candidate."""
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}]}
        if as_of is not None:
            body["as_of"] = as_of
        return self._call("POST", "/v1/chat/completions", body, seconds=90)

    def state(self) -> dict[str, Any]:
        """What the gateway says of itself (`/readyz`), ready or not."""
        return self._call("GET", "/readyz", accept=(200, 503))

    def wait_for(self, candidate_id: str, seconds: float) -> None:
        """Wait until the gateway holds this candidate as the canary, or live. Unavailable with its reason otherwise."""
        self._wait(candidate_id, ("live", "canary"), seconds)

    def wait_live(self, domain: str, candidate_id: str, seconds: float) -> None:
        """Wait until the domain is answered by this release."""
        if candidate_id.split("/")[0] != domain:
            raise BadInput(f"{candidate_id} is not of {domain}")
        self._wait(candidate_id, ("live",), seconds)

    def _wait(self, candidate_id: str, places: tuple[str, ...], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        why = "it was not seen yet"
        while time.monotonic() < deadline:
            try:
                route = self.state()["domains"].get(candidate_id.split("/")[0], {})
                if candidate_id in (route.get(place) for place in places):
                    return
                why = route.get("faults", {}).get(candidate_id, why)
            except Unavailable as error:
                why = str(error)
            time.sleep(0.05)
        raise Unavailable(f"the gateway does not answer with {candidate_id}: {why}", where=self.url, todo="see var/logs/gateway.log")

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, seconds: float = 10, accept: tuple[int, ...] = (200,)
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            # Proxies of the environment are not for our own loopback.
            with httpx.Client(base_url=self.url, trust_env=False, timeout=seconds) as session:
                response = session.request(method, path, json=body, headers=headers)
        except httpx.HTTPError as error:
            what = f"the gateway does not answer ({type(error).__name__})"
            raise Unavailable(what, where=self.url, todo="run `ratchet up`, or see var/logs/gateway.log") from error
        value: dict[str, Any] = response.json()
        if response.status_code not in accept:
            raise KINDS.get(response.status_code, Unavailable)(str(value["error"]["message"]), where=self.url)
        return value
