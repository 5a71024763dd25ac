"""Whether two questions say the same in almost the same words, so that one's answer is the other's.

Vectors cannot tell: `lessor` and `lessee`, `2013` and `2014`, `may` and `may not` are neighbours, and the answers opposites. A list of
dangerous pairs would hold those that somebody thought of. This goes the other way: every word that differs is dangerous, unless it is
listed here as harmless. Both questions are brought to one form, by what changes no meaning: a courtesy, most articles, contractions, a date
at the front instead of the end, a few turns of phrase; then their words must be the same, in the same order, in the same case. Numbers,
units, negations, names, roles, prepositions, tenses, modals and commas are words like the others.

English only: a question in another language is compared as it stands.
"""

from __future__ import annotations

import re
from functools import lru_cache

_OPENING = re.compile(
    r"^(?:(?:please|hello|hi|kindly),? )*"
    r"(?:(?:can|could|would|will) you (?:please |kindly )?(?:tell (?:me|us)|let (?:me|us) know),? "
    r"|(?:please,? )?(?:tell (?:me|us)|let (?:me|us) know),? "
    r"|(?:i|we)(?: would|['\u2019]d)? (?:like|want|need|wish) to know,? "
    r"|do you (?:happen to )?know,? )?",
    re.IGNORECASE,
)
_CLOSING = re.compile(r"[\s,]*(?:please|thanks|thank you)?[\s?!.]*$", re.IGNORECASE)
_MONTH = r"(?:january|february|march|april|may|june|july|august|september|october|november|december)"
_DATE = rf"(?:the )?(?:(?:fiscal |calendar |tax )?year )?(?:\d{{1,2}} {_MONTH} |{_MONTH} (?:\d{{1,2}},? )?)?(?:19|20)\d\d"
_FRONTED = re.compile(rf"^((?:in|on|as of|during|since|until|before|after) {_DATE}),? (.+)$", re.IGNORECASE)
_CLAUSE = re.compile(r" (?:that|which|who|whom|whose|where|when|if|and|or|,)\b|,", re.IGNORECASE)
"""Behind one of these, a date at the end would belong to something else than a date at the front."""
_TURNS = tuple(
    (re.compile(pattern, re.IGNORECASE), to)
    for pattern, to in (
        (r"\b(what|where|when|who|how)['\u2019]s\b", r"\1 is"),
        (r"\bcan['\u2019]t\b|\bcan not\b", "cannot"),
        (r"\bwon['\u2019]t\b", "will not"),
        (r"\b(is|are|was|were|do|does|did|has|have|had|must|should|would|could|need)n['\u2019]t\b", r"\1 not"),
        (r"\bfor how long\b|\bhow much time\b", "how long"),
        (r"\bon (?:what|which) (?:date|day)\b", "when"),
        (r"^how much is (?=the )", "what is the amount of "),
        (r"^which (\w+) (is|are|was|were|applies|apply|applied)\b", r"what \1 \2"),
    )
)
_INDIRECT = re.compile(rf"^(what|where|when|who) ((?:the|an?) [^,]+) (is|are|was|were)((?: in| on| since) {_DATE})?$", re.IGNORECASE)
_WORD = re.compile(r"""(?:[^\s,;:?!"()\[\]\u201c\u201d]|(?<=\d)[,:](?=\d))+|[,;:"\u201c\u201d]""")
_NO_ARTICLE = frozenset(
    {"few", "little", "bit", "number", "lot", "couple", "same", "first", "last", "only", "most", "least", "more", "less"}
)
"""Words before which an article means something."""
_BEFORE_ARTICLE = frozenset(
    {
        "is",
        "are",
        "was",
        "were",
        "does",
        "do",
        "did",
        "must",
        "may",
        "shall",
        "should",
        "can",
        "cannot",
        "will",
        "would",
        "has",
        "have",
        "had",
    }
    | {"of", "to", "for", "in", "on", "by", "with", "from", "at", "under", "when", "if", "before", "after", "than", "about", "without"}
)
"""Words after which `a` is an article: after others it may be a name, as in hepatitis A."""
_COMMON = _BEFORE_ARTICLE | {"what", "where", "who", "whom", "whose", "which", "why", "how", "as", "during", "since", "until", "according"}
"""Words that are no names, though a sentence begins with them."""


def same(one: str, other: str) -> bool:
    """Whether the answer to one question may be given to the other."""
    return one == other or form(one) == form(other)


@lru_cache(maxsize=4096)
def form(question: str) -> tuple[str, ...]:
    """The words by which a question is compared, in order."""
    text = _CLOSING.sub("", _OPENING.sub("", " ".join(question.split()), count=1), count=1)
    if (fronted := _FRONTED.match(text)) is not None and _CLAUSE.search(fronted[2], len(fronted[2].split()[0])) is None:
        text = f"{fronted[2]} {fronted[1][0].lower()}{fronted[1][1:]}"
    for pattern, to in _TURNS:
        text = pattern.sub(to, text)
    if (indirect := _INDIRECT.match(text)) is not None:
        text = f"{indirect[1]} {indirect[3]} {indirect[2]}{indirect[4] or ''}"
    words = [word.rstrip(".") or word for word in _WORD.findall(text)]
    if words and words[0].lower() in _COMMON:
        words[0] = words[0].lower()
    return tuple(word for place, word in enumerate(words) if not _is_article(words, place))


def _is_article(words: list[str], place: int) -> bool:
    word, behind = words[place], words[place + 1] if place + 1 < len(words) else ""
    if word not in ("a", "an", "the") or not behind or behind.lower() in _NO_ARTICLE:
        return False
    return word != "a" or place == 0 or words[place - 1] in _BEFORE_ARTICLE
