"""Masking measured: `python tests/bench/bench_masking.py [--out FILE] [--texts N]`. Prints tables and writes them as JSON; asserts nothing.

Quality on public texts that nobody in this project wrote (`RATCHET_SHARED_DATA`): recall and precision of ours and of Presidio as it
comes, without a model; names masked per 1,000 words of clinical dialogue and of regulations, each of them counted as false. Speed in
texts a second, as ratios within one run: ours for many texts, ours one at a time, and Presidio's own recognisers with our model, run as
ours is and by torch.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.config import PROJECT
from pipelines.masking.mask import Masker
from pipelines.masking.score import Score
from pipelines.masking.taggers import SHIPPED, tagger
from pipelines.masking.vault import Vault

MEANING = {
    "NAME": frozenset({"PERSON", "TITLE"}),
    "ADDRESS": frozenset({"STREET_ADDRESS", "ZIP_CODE", "GPE"}),
    "PLACE": frozenset({"GPE", "STREET_ADDRESS"}),
    "ORGANISATION": frozenset({"ORGANIZATION"}),
    "PERSON": frozenset({"PERSON", "TITLE"}),
}
TITLE = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Miss|Doctor|Nurse)\.?\s*$")
"""What follows one of these is a name: real dialogue has some."""
PRECISION_OF = {"PERSON": "NAME", "STREET_ADDRESS": "ADDRESS", "GPE": "PLACE", "ORGANIZATION": "ORGANISATION"}


def synthetic(folder: Path) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """(text, gold spans) of presidio_synth."""
    rows = json.loads((folder / "presidio_synth" / "synth_dataset_v2.json").read_text(encoding="utf-8"))
    return [(row["full_text"], [(s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]]) for row in rows]


def dialogues(folder: Path) -> list[str]:
    """The dialogues of MTS-Dialog."""
    texts = []
    for path in sorted((folder / "mts_dialog" / "Main-Dataset").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [row["dialogue"] for row in csv.DictReader(file)]
    return texts


def regulations(folder: Path) -> list[str]:
    """The paragraphs of one version of each regulation."""
    texts = []
    for part in sorted((folder / "cfpb_regulations" / "regulation").iterdir()):
        document = sorted(part.glob("*.xml"))[0].read_text(encoding="utf-8")
        found = re.findall(r"<content[^>]*>(.*?)</content>", document, re.DOTALL)
        texts += [" ".join(re.sub(r"<[^>]+>", " ", text).split()) for text in found]
    return [text for text in texts if text]


def lower(text: str) -> str:
    """In lower case with every place kept."""
    return "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)


def score(texts: list[tuple[str, list[tuple[int, int, str]]]], spans: Callable[[str], list[tuple[int, int, str]]]) -> Score:
    """Everything counted."""
    counted = Score()
    for text, gold in texts:
        counted.add(gold, spans(text), MEANING)
    return counted


def names_per_thousand(texts: list[str], spans: Callable[[str], list[tuple[int, int, str]]]) -> dict[str, float]:
    """Spans of each kind of named thing per 1,000 words."""
    words = sum(len(text.split()) for text in texts)
    counts, untitled = dict.fromkeys(PRECISION_OF.values(), 0), 0
    for text in texts:
        for start, _, kind in spans(text):
            if kind in counts:
                counts[kind] += 1
            untitled += kind == "NAME" and not TITLE.search(text[:start])
    rest = {"NAME not after a title": round(1000 * untitled / words, 3)}
    return {"words": words, **rest, **{kind: round(1000 * count / words, 3) for kind, count in counts.items()}}


def in_torch() -> Any:
    """The same weights run by torch in 32 bits, as whoever puts a transformers model behind Presidio runs them."""
    import torch

    from pipelines.masking.recogniser import train
    from pipelines.masking.recogniser.model import FOLDER, Recogniser

    model = train.Tagger()
    train.resume(model, FOLDER)
    model.bert.float()

    class InTorch(Recogniser):
        """The recogniser with another engine."""

        def _scores(self, ids: list[int], shapes: list[int]) -> Any:
            batch = torch.tensor([[101, *ids, 102]]), torch.tensor([[0, *shapes, 0]])
            with torch.inference_mode():
                return model(*batch, torch.ones_like(batch[0]))[0, 1:-1].softmax(-1).numpy()

    return InTorch()


def presidio(model: Any = None) -> Any:
    """Presidio with its own recognisers and no spaCy model (nothing may be downloaded); a tagger beside them where one is given."""
    from pipelines.masking import analyzer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tldextract
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

        # Its e-mail recogniser would fetch a list of suffixes.
        tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        nlp = analyzer._blank_pipeline()
        registry = RecognizerRegistry(supported_languages=["en"])
        registry.load_predefined_recognizers(languages=["en"], nlp_engine=nlp)
        if model is not None:
            kinds = ["NAME", "PLACE", "ORG", "ADDRESS"]
            registry.add_recognizer(
                analyzer._recognizer("model", kinds, lambda text: ((f.start, f.end, f.label, f.score) for f in model.find([text])[0]))
            )
        return AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"])


def per_second(run: Callable[[list[str]], object], texts: list[str]) -> tuple[float, float]:
    """Texts a second by the clock and by the CPU, after a warm-up."""
    run(texts[:30])
    clock, cpu = time.perf_counter(), time.process_time()
    run(texts)
    return len(texts) / (time.perf_counter() - clock), len(texts) / (time.process_time() - cpu)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROJECT / "var" / "bench" / "masking.json")
    parser.add_argument("--texts", type=int, default=1500)
    arguments = parser.parse_args()
    folder = Path(os.environ.get("RATCHET_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"no public data at {folder}: set RATCHET_SHARED_DATA")
    with tempfile.TemporaryDirectory() as scratch:
        masker = Masker("safe_harbor", Vault(Path(scratch) / "v.db", Path(scratch) / "v.key"))
        result = measure(masker, folder, arguments.texts)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(result)


def measure(masker: Masker, folder: Path, count: int) -> dict[str, Any]:
    """Everything that the tables hold."""
    texts = synthetic(folder)[:count]
    bare, with_model, with_torch = presidio(), presidio(tagger(SHIPPED)), presidio(in_torch())

    def bare_spans(text: str) -> list[tuple[int, int, str]]:
        return [(one.start, one.end, one.entity_type) for one in bare.analyze(text, language="en")]

    ours, small, theirs = (
        score(texts, masker.spans),
        score([(lower(text), gold) for text, gold in texts], masker.spans),
        score(texts, bare_spans),
    )
    plain = [text for text, _ in texts]
    speeds = {
        "ours, many": per_second(lambda some: masker.mask_all([(text, ()) for text in some]), plain),
        "ours, one at a time": per_second(lambda some: [masker.mask(text) for text in some], plain),
        "Presidio and our 8-bit model, one at a time": per_second(lambda some: [with_model.analyze(t, language="en") for t in some], plain),
        "Presidio and our model in torch, one at a time": per_second(
            lambda some: [with_torch.analyze(t, language="en") for t in some], plain
        ),
    }
    return {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
        },
        "texts": len(texts),
        "recall": {"ours": ours.recall(), "ours, lower case": small.recall(), "bare Presidio": theirs.recall()},
        "precision": {"ours": ours.precision(), "ours, lower case": small.precision()},
        "no false alarm": {"ours": ours.no_false_alarm(), "ours, lower case": small.no_false_alarm()},
        "named per 1,000 words": {
            "mts_dialog": names_per_thousand(dialogues(folder), masker.spans),
            "cfpb_regulations": names_per_thousand(regulations(folder), masker.spans),
        },
        "texts per second": {name: {"clock": round(clock, 1), "cpu": round(cpu, 1)} for name, (clock, cpu) in speeds.items()},
        "ours, many, to": {name: round(speeds["ours, many"][0] / clock, 2) for name, (clock, _) in speeds.items() if name != "ours, many"},
    }


def show(result: dict[str, Any]) -> None:
    """The tables, for people."""
    columns = result["recall"]
    head = f"{'found':>8}{'precision':>11}{'on any label':>14}{'lower case':>12}{'bare Presidio':>15}"
    print(f"{'presidio_synth, ' + str(result['texts']) + ' texts':<32}{head}")  # noqa: T201
    for kind in sorted(columns["ours"]):
        shares = [result[name]["ours"].get(PRECISION_OF.get(kind, "")) for name in ("precision", "no false alarm")]
        right, labelled = ("" if share is None else f"{share:.3f}" for share in shares)
        small, bare = columns["ours, lower case"][kind], columns["bare Presidio"].get(kind, 0)
        print(f"{kind:<32}{columns['ours'][kind]:>8.3f}{right:>11}{labelled:>14}{small:>12.3f}{bare:>15.3f}")  # noqa: T201
    for name in ("named per 1,000 words", "texts per second", "ours, many, to"):
        print(f"\n{name}")  # noqa: T201
        for key, value in result[name].items():
            print(f"  {key:<40}{value}")  # noqa: T201


if __name__ == "__main__":
    main()
