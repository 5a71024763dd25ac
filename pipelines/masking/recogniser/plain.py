"""Ordinary English words by the thousand: those of the encoder's own vocabulary whose ending says that they are nobody's name.

With a short list of ordinary words the model learns the list, and takes every other word for a name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pipelines.masking.names import GIVEN, SURNAMES

_ENDINGS: Final = {
    "gerund": ("ing",),
    "verb": ("ed",),
    "adv": ("ly",),
    "adj": ("ous", "ive", "able", "ible", "ful", "less", "ical", "ional", "ary", "ish", "ular"),
    "common": (
        "tion", "sion", "ment", "ness", "ity", "ance", "ence", "ism", "ship", "age", "ure", "ology", "hood", "dom", "tions", "ments",
        "ings", "ists", "ures",
    ),
}  # fmt: skip
# Names of people and places with such an ending, and what is in no list of names because it is one everywhere.
_NAMES_TEXT: Final = """
beijing nanjing chongqing darjeeling sterling browning fleming keeling golding harding manning dowling gosling pershing waring kipling
ming xing ping ying ling king ring wing ding jing qing bing ting sing mohammed muhammed ahmed fred alfred manfred wilfred winifred
mohamed hamed ned ted reed saeed syed jared abed ed billy emily molly sally kelly polly holly reilly connelly donnelly connolly kimberly
beverly carly lilly charly italy sicily lily ely brady mary hilary rosemary hungary calgary tipperary gary kelvin florence clarence
terrence laurence constance lance vance terrance torrance provence wellness carthage anchorage osage trinity felicity charity dominion
croatian dion marion fulham christian british english irish spanish danish turkish swedish polish scottish finnish welsh jewish kurdish
clement yarmouth parish harish ashish manish
"""
_NAMES: Final = frozenset(_NAMES_TEXT.split()) | GIVEN | SURNAMES


@lru_cache(maxsize=1)
def words() -> dict[str, tuple[str, ...]]:
    """Ordinary words by the slot that they fit, sorted."""
    from pipelines.masking.recogniser.encode import tokenizer

    vocabulary = sorted(
        word for word in tokenizer().get_vocab() if word.isascii() and word.isalpha() and len(word) > 4 and word not in _NAMES
    )
    return {slot: tuple(word for word in vocabulary if word.endswith(endings)) for slot, endings in _ENDINGS.items()}
