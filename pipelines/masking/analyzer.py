"""Presidio's analyzer, offline: a blank spaCy pipeline (no model to download) and our recognisers.

Presidio's own e-mail and URL recognisers ask the network for a public-suffix list at first use, so that ours stand in their place.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import regex  # type: ignore[import-untyped]

from pipelines.masking import countries, names, numbers, patterns, postcodes, tidy
from pipelines.masking.postcodes import Finding
from pipelines.masking.taggers import MODEL_KINDS, SHIPPED, tagger

FLAGS = regex.MULTILINE
"""Case counts: a capital is how a name shows."""
PATTERN_SECONDS = 20.0
VOCABULARY = 100_000
"""Words after which the tokenizer is begun anew: spaCy keeps every word that it ever met, 400 bytes each, for as long as it lives."""
SURE = 0.98
"""The score that a name, a place, a firm in lower case needs among words with capitals."""


@lru_cache(maxsize=4)
def engine(profile: str, also: tuple[str, ...] = (), recogniser: str = SHIPPED) -> Any:
    """An AnalyzerEngine for a profile, built once per process."""
    with warnings.catch_warnings(), _without("torch", "transformers", "stanza", "gliner", "mxnet", "tensorflow"):
        # spaCy and its friends warn at import about one another.
        warnings.simplefilter("ignore")
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

    public = profile == "public"
    wanted = frozenset(also) if public else frozenset(MODEL_KINDS.values())
    table = patterns.PUBLIC_PATTERNS if public else patterns.PATTERNS + patterns.CASE_PATTERNS
    if public:
        table += tuple(row for row in patterns.PATTERNS + patterns.CASE_PATTERNS + patterns.ACCOUNT_PATTERNS if row[0] in wanted)
    recognizers: list[Any] = [
        _recognizer("patterns", {kind for kind, *_ in table}, _matcher(table)),
        CreditCardRecognizer(name="card check digit"),
    ]
    if not public:
        recognizers += [
            _recognizer("phone plans", ["PHONE"], lambda text: ((*span, "PHONE", 0.9) for span in numbers.phones(text))),
            _recognizer("announced phones", ["PHONE"], lambda text: ((*span, "PHONE", 0.9) for span in numbers.announced(text))),
            _recognizer("grouped phones", ["PHONE"], lambda text: ((*span, "PHONE", 0.8) for span in numbers.grouped(text))),
            _recognizer("labelled postal codes", ["ZIP"], lambda text: ((*span, "ZIP", 1.0) for span in postcodes.labelled(text))),
            _recognizer("iban check digits", ["IBAN_CODE"], lambda text: ((*span, "IBAN_CODE", 1.0) for span in numbers.ibans(text))),
        ]
    if "NAME" in wanted:
        recognizers.append(_recognizer("titles and lists", ["NAME"], lambda text: ((*span, "NAME", 0.8) for span in names.find(text))))
    if "PLACE" in wanted:
        recognizers.append(_recognizer("countries", ["PLACE"], lambda text: ((*span, "PLACE", 0.7) for span in countries.find(text))))
    if wanted & frozenset(MODEL_KINDS.values()):
        model = tagger(recogniser)

        def tagged(text: str) -> Iterator[Finding]:
            found: list[Finding] = []
            for one in model.find([text])[0]:
                kept = tidy.trimmed(text, one.start, one.end, kind := MODEL_KINDS[one.label])
                if not kept or kind not in wanted:
                    continue
                odd = one.score < SURE and tidy.is_odd_one_out(text, *kept)
                if not odd and not (kind == "ADDRESS" and tidy.is_citation(text, *kept)):
                    found.append((*kept, kind, one.score))
            for start, end, kind, score in postcodes.joined(text, found):
                yield start, end, tidy.called(text[start:end], kind) if "PLACE" in wanted else kind, score
                if kind in ("PLACE", "ADDRESS"):
                    yield from ((*code, "ZIP", 0.8) for code in postcodes.beside(text, start, end))
                else:
                    yield from ((*code, "ZIP", 0.6) for code in postcodes.after_name(text, end))

        recognizers.append(_recognizer(recogniser, (wanted & frozenset(MODEL_KINDS.values())) | {"ZIP"}, tagged))
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=["en"])
    return AnalyzerEngine(registry=registry, nlp_engine=_blank_pipeline(), supported_languages=["en"])


def _matcher(table: Iterable[tuple[str, str, float]]) -> Callable[[str], Iterator[Finding]]:
    """Our patterns. Presidio's own pattern recogniser logs one that runs out of time and goes on without it; here that is an error."""
    compiled = [(kind, regex.compile(pattern, FLAGS), score) for kind, pattern, score in table]

    def matches(text: str) -> Iterator[Finding]:
        for kind, pattern, score in compiled:
            for match in pattern.finditer(text, timeout=PATTERN_SECONDS):
                if match.end() > match.start():
                    yield match.start(), match.end(), kind, score

    return matches


def _recognizer(name: str, kinds: Iterable[str], find: Callable[[str], Iterable[Finding]]) -> Any:
    """A function as Presidio calls it."""
    from presidio_analyzer import EntityRecognizer, RecognizerResult

    class Finder(EntityRecognizer):  # type: ignore[misc]
        """`find` behind Presidio's interface."""

        def load(self) -> None:
            """Nothing to load."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: object = None) -> list[Any]:  # noqa: ARG002
            return [RecognizerResult(kind, start, end, score) for start, end, kind, score in find(text)]

    return Finder(supported_entities=sorted(kinds), name=name)


@contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Optional packages look absent to what is imported meanwhile: Presidio would load torch and transformers, 10 s for nothing here."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _blank_pipeline() -> Any:
    """A tokenizer alone. Lemmas are the words in lower case, without which Presidio's context words never match."""
    import spacy
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    class BlankPipeline(NlpEngine):  # type: ignore[misc]
        """spaCy's rule-based English tokenizer; it knows no entities."""

        def __init__(self) -> None:
            self.nlp = _tokenizer(spacy)

        def load(self) -> None:
            """Nothing to load."""

        def is_loaded(self) -> bool:
            return True

        def process_text(self, text: str, language: str) -> Any:
            if len(self.nlp.vocab.strings) > VOCABULARY:
                self.nlp = _tokenizer(spacy)  # a text that another thread is at keeps the one it began with
            doc = self.nlp.make_doc(text)
            return NlpArtifacts([], doc, [token.idx for token in doc], [token.lower_ for token in doc], self, language)

        def process_batch(self, texts: Any, language: str, **_: object) -> Any:
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word: str, language: str) -> bool:  # noqa: ARG002
            return bool(self.nlp.vocab[word].is_stop)

        def is_punct(self, word: str, language: str) -> bool:  # noqa: ARG002
            return bool(self.nlp.vocab[word].is_punct)

        def get_supported_entities(self) -> list[str]:
            return []

        def get_supported_languages(self) -> list[str]:
            return ["en"]

    return BlankPipeline()


def _tokenizer(spacy: Any) -> Any:
    made = spacy.blank("en")
    made.max_length = 10_000_000
    return made
