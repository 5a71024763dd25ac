from concurrent.futures import ThreadPoolExecutor

from pipelines.config import Settings
from pipelines.registry import views
from pipelines.state import ledger
from pipelines.state.ledger import Delivery, Line


def delivery(folder: str, seal: str = "a" * 64, effective: str = "2012-01-01") -> Delivery:
    return Delivery(folder, seal, "steward", "test", effective, 1)


def test_a_claim_is_for_one_run_and_a_cleared_run_gets_it_back(settings: Settings) -> None:
    ledger.register(settings, "regulatory", [delivery("one")])
    first = ledger.claim(settings, "regulatory", "regulatory.ingest", "run-1")
    assert len(first) == 1
    assert ledger.claim(settings, "regulatory", "regulatory.ingest", "run-2") == []
    assert ledger.claim(settings, "regulatory", "regulatory.ingest", "run-1") == first


def test_claims_come_in_order_of_effective_date(settings: Settings) -> None:
    ledger.register(settings, "d", [delivery("x", "1" * 64, "2014-01-01"), delivery("y", "2" * 64, "2012-01-01")])
    assert [name[:3] for name in ledger.claim(settings, "d", "dag", "run")] == ["d-2", "d-1"]


def test_registering_again_adds_nothing(settings: Settings) -> None:
    for _ in range(3):
        ledger.register(settings, "regulatory", [delivery("one")])
    assert len(views.arrivals(settings)) == 1


def test_the_same_delivery_in_another_folder_is_linked_not_stored_twice(settings: Settings) -> None:
    ledger.register(settings, "regulatory", [delivery("one")])
    ledger.register(settings, "regulatory", [delivery("two")])
    original, twin = (ledger.arrival(settings, f"regulatory-{'a' * 12}{tail}") for tail in ("", "-2"))
    assert twin.duplicate_of == original.id


def test_a_delivery_whose_twin_was_refused_is_taken_on_its_own(settings: Settings) -> None:
    ledger.register(settings, "regulatory", [delivery("torn")])
    ledger.refuse(settings, f"regulatory-{'a' * 12}", "wrong checksum", [Line("f", "", "refused", reason="wrong checksum")])
    ledger.register(settings, "regulatory", [delivery("mended")])
    assert ledger.arrival(settings, f"regulatory-{'a' * 12}-2").duplicate_of is None


def test_two_runs_at_once_never_share_an_arrival(settings: Settings) -> None:
    ledger.register(settings, "d", [delivery(f"f{n}", f"{n:02x}" * 32) for n in range(20)])
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(lambda run: ledger.claim(settings, "d", "dag", f"run-{run}"), range(4)))
    taken = [arrival for claim in claims for arrival in claim]
    assert len(taken) == len(set(taken)) == 20


def test_a_refusal_written_twice_is_one_account(settings: Settings) -> None:
    ledger.register(settings, "d", [delivery("one")])
    (arrival,) = ledger.claim(settings, "d", "dag", "run")
    for _ in range(2):
        ledger.refuse(settings, arrival, "because", [Line("f1", "row 3", "refused", reason="empty")])
    assert [(row["place"], row["reason"]) for row in views.items(settings, arrival)] == [("row 3", "empty")]
    assert [row["action"] for row in views.audit_events(settings, arrival, 10)] == ["arrival.received", "arrival.refused"]
