"""Which model finds names, places, organisations and addresses: the one that ships with the project, or one that the domain file names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from pipelines.config import Privacy
from pipelines.errors import MaskingFailed
from pipelines.masking.recogniser.model import Found, recogniser

SHIPPED: Final = "ratchet-minilm"
MODEL_KINDS: Final = {"NAME": "NAME", "PLACE": "PLACE", "ORG": "ORGANISATION", "ADDRESS": "ADDRESS"}
"""What a model's label is called in a masked text."""
_LABELS: Final = (
    ("NAME", ("PER", "PERSON", "NAME", "PATIENT", "DOCTOR", "FIRSTNAME", "LASTNAME", "SURNAME", "GIVENNAME", "STAFF", "HCW", "USERNAME")),
    ("PLACE", ("LOC", "GPE", "LOCATION", "PLACE", "CITY", "COUNTRY", "STATE", "COUNTY", "FAC")),
    ("ORG", ("ORG", "ORGANIZATION", "ORGANISATION", "HOSPITAL", "VENDOR", "COMPANY", "COMPANYNAME")),
    ("ADDRESS", ("ADDRESS", "STREET", "STREETADDRESS", "STREET_ADDRESS", "BUILDINGNUMBER", "ZIPCODE", "ZIP")),
)
_MEANS: Final = {word: label for label, words in _LABELS for word in words}


class Tagger(Protocol):
    """Finds named things in texts. `sha256` tells which weights it is."""

    sha256: str

    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """What each text names, in order of place."""
        ...


def is_used(privacy: Privacy) -> bool:
    """Whether the profile asks for what only a model finds."""
    return privacy.profile != "public" or not set(MODEL_KINDS.values()).isdisjoint(privacy.also)


def tagger(name: str) -> Tagger:
    """The model of that name, loaded once per process. MaskingFailed, which blocks, when it cannot be."""
    return recogniser() if name == SHIPPED else _hub(name)


class HubTagger:
    """Any Hugging Face token-classification model, as safetensors: from a folder, or by a name that the local cache holds. Needs torch."""

    def __init__(self, name: str) -> None:
        import transformers

        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name)
            self._model: Any = transformers.AutoModelForTokenClassification.from_pretrained(name, use_safetensors=True).eval()
        except (OSError, ValueError) as error:
            raise MaskingFailed(
                f"the recogniser {name!r} cannot be loaded ({type(error).__name__})",
                where="privacy.recogniser",
                todo="name a folder or a cached hub model with model.safetensors",
            ) from None
        self._labels = [_MEANS.get(label.upper().split("-")[-1]) for _, label in sorted(self._model.config.id2label.items())]
        if not any(self._labels):
            raise MaskingFailed(f"the recogniser {name!r} has no label for a name, place or organisation", where="privacy.recogniser")
        self.sha256 = _fingerprint(self._model)

    def find(self, texts: Sequence[str]) -> list[list[Found]]:
        """What each text names, in order of place."""
        return [self._find(text) for text in texts]

    def _find(self, text: str) -> list[Found]:
        import torch

        longest = min(512, int(getattr(self._model.config, "max_position_embeddings", 512)) - 2)
        encoded = self._tokenizer(
            text,
            truncation=True,
            max_length=longest,
            stride=longest // 4,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping").tolist()
        encoded.pop("overflow_to_sample_mapping", None)
        with torch.inference_mode():
            scores = self._model(**encoded).logits.softmax(-1)
        found: list[Found] = []
        for window, places in zip(scores, offsets, strict=True):
            for probabilities, (start, end) in zip(window, places, strict=True):
                label = self._labels[int(probabilities.argmax())]
                if label is None or start == end:
                    continue
                last = found[-1] if found else None
                if last and last.label == label and start >= last.start and set(text[last.end : start]) <= set(" \n'’.-,"):
                    found[-1] = Found(last.start, max(end, last.end), label, min(last.score, float(probabilities.max())))
                else:
                    found.append(Found(start, end, label, float(probabilities.max())))
        return sorted(found, key=lambda one: (one.start, one.end))


def _fingerprint(model: Any) -> str:
    """A hash of the weights, wherever they came from."""
    import hashlib

    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=2)
def _hub(name: str) -> Tagger:
    return HubTagger(name)
