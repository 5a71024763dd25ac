from typing import Any

from pipelines.config import Settings
from pipelines.errors import Unavailable
from pipelines.state import outbox
from pipelines.state.database import transaction


def put(settings: Settings, key: str) -> None:
    with transaction(settings) as session:
        outbox.put(session, "test", key, {"key": key})


def test_the_same_key_is_one_message(settings: Settings) -> None:
    put(settings, "a")
    put(settings, "a")
    assert outbox.pending(settings) == 1


def test_a_service_that_is_down_keeps_its_messages_for_later(settings: Settings) -> None:
    put(settings, "a")
    put(settings, "b")
    heard: list[str] = []

    def down(_settings: Settings, _payload: dict[str, Any]) -> None:
        raise Unavailable("it is down")

    def up(_settings: Settings, payload: dict[str, Any]) -> None:
        heard.append(payload["key"])

    assert outbox.drain(settings, {"test": down}) == (0, ["it is down"])
    assert outbox.pending(settings) == 2
    assert outbox.drain(settings, {"test": up}) == (2, [])
    assert outbox.drain(settings, {"test": up}) == (0, [])
    assert heard == ["a", "b"]
