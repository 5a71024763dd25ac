"""What is said to a model to turn it: one google-re2 Set, so that a question is read once whatever the number of patterns.

Patterns see folded text (`folding.folded`): lower case, no accents. RE2 knows neither look-ahead nor look-behind, and takes linear time.
To add one, add a line to `PHRASES`, with a weight: `SURE` alone reaches the usual threshold, two of `HINT` do together.
The domain's intake knows phrases as well (`intake.screen.phrases`): those that turn a model are tried here, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pipelines.serving.guards import sets
from pipelines.serving.guards.folding import folded

SURE: Final = 0.9
HINT: Final = 0.35

_START = r"(?:^|[.!?:;,\n\"'(-]\s*|\b(?:please|now|then|and|but|just|so|ok|okay)\s+)"
_RULES = (
    r"(?:instructions?|prompts?|commands?|directives?|guidelines?|programming|safeguards?|assignments?|system messages?|orders given|"
    r"(?:tasks?|rules|constraints|filters|training|orders)(?:\s+(?:you|above|given|so far|before|from (?:above|before)))?)"
)
# Bare "the instructions" are the consumer's as often as the model's.
_THESE = r"(?:(?:any|each|of|the|our|these|those|this|that)\s+)"
_OLD = (
    r"(?:(?:all|every|everything|your|my|prior|previous|earlier|above|preceding|former|initial|original|system|other|existing|current|past"
    r"|old)\s+)"
)
_MORE = r"(?:python|linux|unix|bash|sql|javascript|ssh|dos)"

PHRASES: Final[tuple[tuple[float, str], ...]] = (
    # Dropping what it was told.
    (
        SURE,
        r"\b(?:ignore|disregard|forget|drop|abandon|discard|override|bypass|neglect|dismiss|erase|delete|remove|skip|overlook)\s+"
        rf"(?:about\s+|out\s+)?{_THESE}{{0,2}}{_OLD}(?:{_THESE}|{_OLD}){{0,2}}(?:\w+\s+)?"
        r"(?:instructions?|prompts?|commands|directives|programming|safeguards|assignments|system messages?|guardrails)\b",
    ),
    (
        SURE,
        r"\b(?:ignore|disregard|forget|drop|abandon|discard|erase)\s+(?:about\s+)?(?:all\s+|everything\s+|anything\s+|"
        r"whatever\s+)(?:\w+\s+){0,2}?"
        r"(?:you\s+(?:know|were|have|think|learned)|said|told|we\s+(?:said|discussed|talked)|(?:i|we)\s+(?:said|told|wrote)|before|above|"
        r"previous(?:ly)?\s+(?:said|told|information|tasks?|context)|prior\s+(?:context|information|tasks?)|your\s+(?:thoughts|rules|"
        r"training|tasks?))\b",
    ),
    (SURE, r"\b(?:ignore|disregard|forget|drop)\s+(?:all\s+)?(?:the\s+)?(?:provided\s+|given\s+)?(?:documents?|passages?|context|"
        r"articles?|sources?)\s+(?:provided|given|above|and)\b"),
    (SURE, r"\b(?:ignore|disregard|forget)\s+(?:all\s+)?(?:the\s+)?(?:provided|retrieved|given)\s+(?:documents?|passages?|context|"
        r"articles?|texts?)\b"),
    (SURE, r"\bforget\s+(?:everything|it all|about everything)\b"),
    (SURE, r"\b(?:previous|prior|earlier|above|old|former)\s+(?:instructions?|tasks?|information|prompts?|"
        r"commands?)\s+(?:\w+\s+){0,3}?(?:void|invalid|obsolete|cancel\w*|no longer|out of your (?:head|mind)|behind)\b"),
    (SURE, r"\b(?:leave|put|push|clear|wipe)\s+(?:all\s+)?(?:the\s+|your\s+)?(?:previous|prior|earlier|old)\s+\w+\s+(?:behind|aside|"
        r"away|from your)"),
    (SURE, r"\b(?:change|update|replace|rewrite|modify|reset)\s+your\s+(?:instructions?|prompt|programming|system|rules)\b"),
    (SURE, r"\b(?:contrary to|in contrast to|unlike|deviating from|different from)\s+(?:the\s+|all\s+|your\s+)?(?:previous|prior|"
        r"earlier)\s+instructions?\b"),
    (SURE, r"\b(?:do not|don'?t|never|stop)\s+(?:follow|obey|listen to|heed|comply with)(?:ing)?\s+(?:\w+\s+){0,3}?(?:instructions|"
        r"prompts?|guidelines you|rules you)\b"),
    # A new task in the middle of the question.
    (SURE, r"\b(?:your|a|some|the)\s+(?:\w+\s+)?(?:new|next|real|actual|true|only)\s+(?:task|job|assignment|mission|instruction|order|"
        r"challenge)s?\s*(?:is\b|are\b|:|for you\b|-|follows?\b|now\b|will be\b)"),
    (SURE, r"\b(?:new|more|additional|further|other|updated)\s+(?:tasks?|instructions?|assignments?|orders)\s*(?:follow\b|for you\b|:|"
        r"coming\b|-)"),
    (SURE, r"\b(?:focus|concentrate)\s+(?:only\s+|instead\s+)?on\s+(?:your|the|this)\s+(?:new|next|following)\s+(?:task|job|assignment)"),
    (SURE, r"\bstop\s*[:!-]+\s*(?:write|say|print|output|tell|answer|show|i\s+(?:need|urgently))\b"),
    (SURE, r"\bstart(?:ing)?\s+(?:over|again|anew|from scratch)\s+with\s+(?:a\s+)?(?:new|different)\s+(?:task|assignment|instruction)"),
    (HINT, r"\b(?:well done|good job|great job|very good|excellent (?:work|performance)|that(?:'s| is) (?:done|"
        r"enough))\b[^\n]{0,40}\b(?:now|next|but)\b"),
    # Putting words into its mouth.
    (SURE, r"\b(?:repeat after me|repeat the words above|say exactly|answer only with the (?:word|phrase)|respond only with the "
        r"(?:word|phrase))\b"),
    (SURE, r"\b(?:just|only|simply|always|must)\s+(?:say|output|print|write|answer with|respond with|reply with)\s*:?\s*[\"'“«]"),
    (SURE, r"\b(?:answer|respond|reply)\s+(?:to every \w+\s+)?(?:with|by saying)\s*:?\s*[\"']"),
    (SURE, r"\b(?:say|state|claim|admit|include|mention|write|tell me|confirm)\s+that\s+you\s+(?:hate|love|are|have|think|want|will)\b"),
    (SURE, r"\b(?:do|don'?t|would)\s+you\s+(?:hate|love|like)\b[^\n]{0,40}[?.!]\s*(?:just\s+)?(?:say|answer)\s+(?:yes|no)\b"),
    (HINT, r"\b(?:say|print|output|write)\s*:?\s*[\"'“«][^\"'\n]{2,80}[\"'”»]"),
    # A role.
    (SURE, rf"{_START}(?:act|behave|pretend|role-?play|impersonate|respond|answer|talk|speak|simulate)\s+(?:as|like|"
        rf"being)\s+(?:if\s+)?(?:you\b|an?\b|the\b|my\b|{_MORE})"),
    (SURE, r"\b(?:want|need|would like|ask|command|order|instruct)\s+you\s+to\s+(?:act|pretend|behave|role-?play|impersonate|play|"
        r"ignore|forget|just)\b"),
    (SURE, r"\b(?:pretend|imagine|suppose|assume)\s+(?:that\s+)?(?:you\s+(?:are|can|have no|were)|you're|to be)\s+(?:an?\b|the\b|not\b|"
        r"my\b|access\b|no\b|free\b|in\b)"),
    (SURE, rf"{_START}(?:you are|you're)\s+(?:now\b|no longer\b|from now\b|role-?playing\b|going to (?:act|play|pretend)\b|free (?:of|"
        rf"from)\b|not bound\b)"),
    (SURE, r"\byou\s+(?:are|will be|shall be)\s+(?:an?\s+|my\s+|the\s+)(?:\w+\s+){0,3}?(?:chat ?bot|ai|assistant|language model|hacker|"
        r"pirate|persona|character|interpreter|terminal|god|villain)\b"),
    (HINT, rf"{_START}(?:you are|you're|be)\s+(?:an?|my|the|two|three|four)\s+\w+"),
    (SURE, rf"\b{_MORE}\s+(?:interpreter|terminal|console|shell)\b[^\n]{{0,80}}\b(?:execute|run|command|output|reply|respond)\b"),
    (SURE, r"\b(?:execute|run)\s+(?:the\s+|this\s+)?(?:following\s+)?(?:command|code|script|program)s?\s*:"),
    (SURE, r"\bfrom\s+now\s+on,?\s+(?:you|your|always|only|every|all|please|answer|respond|act|speak)\b"),
    (HINT, r"\b(?:actors?|characters?|two ais?|two people|hero)\b[^\n]{0,200}\b(?:never break|stays? in (?:their|his|her|the) "
        r"(?:roles?|character)|without breaking)"),
    (SURE, r"\b(?:stay|remain|keep|stays|remains)\s+in\s+(?:character|(?:your|their|his|her)\s+(?:roles?|character))\b"),
    # What it was told.
    (SURE, r"\b(?:show|print|reveal|repeat|output|display|leak|expose|disclose|recite|dump)\s+(?:me\s+)?(?:all\s+(?:of\s+)?)?"
        r"your\s+(?:\w+\s+)?(?:instructions?|prompts?|rules|guidelines)\b"),
    (SURE, r"\b(?:show|print|reveal|repeat|output|display|leak|give|tell|expose|disclose|list|summari[sz]e|translate|spell ?check|"
        r"write(?: out)?|copy|dump|recite)\b(?:\s+me)?"
           r"[^\n]{0,30}\b(?:your|the|all|above|entire|initial|full|whole|system|hidden|secret|"
           r"complete)\s+(?:\w+\s+){0,2}?(?:prompts?(?:[ _]texts?)?|system message|instructions? (?:you|above|given to you)|previous "
           r"instructions)\b"),
    (SURE, r"\b(?:what|which)\s+(?:is|are|was|were|does)\s+(?:\w+\s+){0,2}?your\s+(?:\w+\s+)?(?:instructions?|prompts?|system message|"
        r"guidelines|initial (?:prompt|message|text))\b"),
    (SURE, r"\btell\s+me\s+(?:what\s+)?(?:are\s+)?your\s+(?:\w+\s+)?(?:instructions?|prompts?|rules|guidelines)\b"),
    (SURE, r"\b(?:what|everything|text|words|sentences?)\s+(?:is|was|are|were|that (?:is|was))?\s*(?:written|said|stated|stands|"
        r"printed)?\s*(?:above|before)\s+(?:this|my|the)\s+(?:line|sentence|question|message|prompt|point|text)\b"),
    (SURE, r"\bwhat\s+(?:is|was|stands)\s+(?:written|said)\s+(?:above|before(?: this)?)\s*[?.!]"),
    (SURE, r"\b(?:information|text|content|data)\s+(?:in|from|of)\s+(?:the|your|this)\s+(?:system\s+)?prompt\b"),
    (SURE, r"\b(?:system|hidden|secret|initial|master)[ _-]?prompts?\b"),
    # Answering from elsewhere.
    (SURE, r"\b(?:do not|don'?n?'?t|never|without)\s+(?:use|using|look(?:ing)?(?: at| in)?|answer(?:ing)?|consider(?:ing)?|"
        r"rely(?:ing)?(?: on)?|read(?:ing)?|cit(?:e|ing))\b[^\n]{0,50}"
           r"\b(?:documents?|articles?|context|passages?|sources?)\s+(?:provided|given|above|you (?:were|have|got)|but)\b"),
    (SURE, r"\b(?:by|from|with|using)\s+your\s+own\s+(?:knowledge|memory|training|opinion)\b[^\n]{0,30}\b(?:not|without|instead)\b"),
    # No limits.
    (SURE, r"\b(?:dan|developer|debug|god|sudo|admin|root|jailbreak|jailbroken|unrestricted|opposite|evil|uncensored)[ -]mode\b"),
    (SURE, r"\bdo anything now\b|\bjailbr(?:eak|oken)\s+(?:yourself|you|the|this)\b|\bbreak(?:ing)? (?:out of|free (?:of|from)) "
        r"(?:your|the) (?:rules|limits|constraints|programming|box)"),
    (SURE, r"\b(?:without|no|free (?:of|from)|ignoring|lift|remove|disable|turn off)\s+(?:any\s+|all\s+|your\s+|the\s+|"
        r"more\s+)?(?:ethical|moral|safety|content|openai'?s?|built-?in)\s+(?:\w+\s+)?(?:restrictions?|filters?|guidelines|limits|"
        r"limitations|constraints|rules|policy|policies|checks)\b"),
    (SURE, r"\b(?:you|your)\b[^\n]{0,40}\b(?:no|without(?: any)?|free (?:of|from))\s+(?:restrictions|filters?|limitations|censorship|"
        r"guardrails)\b"),
    (HINT, r"\bjailbreak\b|\bprompt[ -]?injection\b|\buncensored\b|\bunfiltered\b|\bguardrails\b|\bai systems?\b"),
    (SURE, r"\b(?:i am|i'm|this is)\s+(?:your|the)\s+(?:developer|creator|administrator|admin|programmer)\b"),
    (SURE, r"\b(?:admin|administrator|system|developer|root)\s+(?:override|access granted)\b|\boverride\s+(?:code|mode|protocol)\b"),
    (SURE, r"\b(?:note|message|instruction|attention|warning)s?\s+(?:to|for)\s+(?:the\s+|any\s+|all\s+)?(?:ai|a\.i\.|assistants?|"
        r"language models?|llms?|chat ?bots?|models? reading)\b"),
    # Marks of a chat template, and a second dialogue inside the question.
    (SURE, r"<\|(?:im_start|im_end|endoftext|system|user|assistant|eot_id|begin_of_text|start_header_id|end_header_id)\|>|\[/?inst\]|"
        r"<</?sys>>|</?(?:system|assistant|instructions?)>"),
    (SURE, r"(?:^|\n)\s*(?:###?\s*)?(?:system|assistant)\s*:\s*\w"),
    (HINT, r"(?:^|[\n?.!]|\\n)\s*(?:#+\s*)?(?:additional\s+|new\s+)?instructions?\s*[:-]"),
    (HINT, r"(?:\\ ?n\s*){3,}"),
    (HINT, r"\$documents?\s*:|\bcontext\s*:\s*\{"),
)  # fmt: skip

_FOREIGN: Final[tuple[tuple[str, str], ...]] = (
    # German
    (r"\b(?:vergiss|vergesst|vergessen sie|ignorier\w*|missachte\w*|verwirf|verwerfen sie|uberschreibe\w*)\b", r"(?:anweisung|"
        r"instruktion|befehl|auftrag|vorgabe|regeln|prompt|\balles\b|vorherige|bisherige|gesagte)"),
    (r"\b(?:vorherige\w*|bisherige\w*|alle\w*)\s+(?:informationen|anweisungen|instruktionen|aufgaben)\b", r"\b(?:hinter sich|beiseite|"
        r"vergessen|ignorieren|ausser acht)\b"),
    (r"\b(?:abweichend|entgegen|im gegensatz)\s+(?:zu\s+)?(?:den\s+)?(?:vorherigen|bisherigen)\b", r"(?:anweisung|instruktion|befehl|"
        r"auftrag)"),
    (r"\b(?:neue|weitere|nachste|eigentliche)\w*\s+(?:aufgabe|anweisung|herausforderung|auftrag|instruktion)\w*\b",
    r"(?::|\bfur dich\b|\bschreib\w*|\bzeig\w*|\bfolg\w*|\bbeantwort\w*|\bformulier\w*)"),
    (r"\bkonzentrier\w*\b", r"\b(?:neue\w*|folgende\w*)\s+(?:aufgabe|anweisung)"),
    (r"\bnun\s+folgen\b|\bjetzt\s+(?:kommt|folgt|kommen)\b", r"\b(?:aufgabe|anweisung|herausforderung)"),
    (r"\bals\s+(?:\w+[- ]?){1,4}", r"\b(?:fungier|agier|verhalt)\w*"),
    (r"(?:^|[.!?]\s*)(?:ok\w*\.?\s*)?(?:jetzt\s+bist\s+du|du\s+bist\s+(?:jetzt|nun|ab\s+sofort|kein))\b", r"\w"),
    (r"\b(?:zeig\w*|nenn\w*|verrat\w*|gib|gebe|drucke\w*|wiederhol\w*)\b", r"\b(?:prompt|system-?nachricht|deine\w*\s+(?:anweisung|"
        r"instruktion)|ihre\w*\s+(?:anweisung|instruktion))"),
    (r"\b(?:ab|von)\s+(?:jetzt|nun|sofort)\s+(?:an\s+)?", r"\b(?:bist\s+du|antworte|sprich|verhalte)\b"),
    (r"\bhallo\s+(?:gpt|chatgpt|ki|bot)\b", r"\b(?:aufgabe|herausforderung|auftrag|beantworte|schreib)"),
    # French
    (r"\b(?:oublie[zr]?|ignore[zr]?|neglige[zr]?)\b", r"\b(?:instructions?|consignes?|ordres|tout\s+ce\s+(?:que|qui)|regles|directives)\b"),
    (r"\b(?:tu\s+es\s+(?:maintenant|desormais)|vous\s+etes\s+(?:maintenant|desormais)|fais\s+semblant|faites\s+semblant)\b", r"\w"),
    (r"\b(?:montre|montrez|revele|revelez|affiche|affichez|repete|repetez)\b", r"\b(?:prompt|(?:tes|vos)\s+instructions|"
        r"instructions\s+(?:initiales|systeme))\b"),
    # Spanish, Portuguese, Italian
    (r"\b(?:olvid[ae]\w*|ignor[ae]\w*|descart[ae]\w*)\b", r"\b(?:instrucciones|ordenes|todo\s+lo|reglas|indicaciones|instrucoes|"
        r"tudo\s+o?|todas\s+as|instruccion)\b"),
    (r"\b(?:esquec\w*|desconsider\w*|dimentic\w*|scord\w*|trascur\w*|ignora\w*)\b", r"\b(?:instrucoes|tudo|istruzioni|tutto\s+(?:cio|"
        r"quello)|regole|comandi|ordens)\b"),
    (r"\b(?:ahora\s+eres|a\s+partir\s+de\s+ahora|actua\s+como|agora\s+voce\s+e|aja\s+como|ora\s+sei|comportati\s+come|fingi\s+di)\b",
    r"\w"),
    # Dutch, Polish, Croatian and Serbian, Czech, Turkish, Swedish
    (r"\b(?:negeer|vergeet)\b", r"\b(?:instructies|opdrachten|alles|aanwijzingen)\b"),
    (r"\b(?:zignoruj|zapomnij|ignoruj|pomin)\b", r"\b(?:instrukcj\w*|polecen\w*|wszystk\w*|instrukc\w*|pokyny|predchozi\w*)\b"),
    (r"\b(?:zaboravi\w*|zanemari\w*|ignoriraj\w*|ignorisi\w*)\b", r"\b(?:sve|instrukcij\w*|uput\w*|naredb\w*)\b"),
    (r"\b(?:onceki|tum)\b", r"\btalimat\w*\b[^\n]{0,20}\b(?:unut|yok\s*say|gormezden)"),
    (r"\b(?:ignorera|glom|bortse)\b", r"\b(?:instruktioner|allt|tidigare)\b"),
    # Russian, Ukrainian, Chinese, Japanese, Korean, Arabic
    (folded("(?:игнорируй|забудь|проигнорируй|забудьте|игнорируйте|ігноруй)"), folded("(?:инструкци|указани|всё|все |команд|інструкці)")),
    ("(?:忽略|忽视|无视|忘记|忘掉)", "(?:指令|指示|之前|以上|前面|所有)"),
    (folded("(?:以前|これまで|上記|前)"), folded("(?:指示|命令)[^\n]{0,8}(?:無視|忘れ)")),
    (folded("(?:이전|모든)"), folded("(?:지시|명령)[^\n]{0,20}(?:무시|잊)")),
    (folded("(?:تجاهل|انس)"), folded("(?:التعليمات|الأوامر|كل ما)")),
)  # fmt: skip
"""(what, then what): the second within eighty characters of the first, on one line."""

_SQUASHED: Final = (
    r"(?:ignore|disregard|forget|override|bypass)(?:about)?(?:all|any|every|everything|of|the|your|my|these|those|this|prior|previous|"
    r"earlier|above|preceding|initial|original|system){1,5}"
    r"(?:instruction|prompt|command|directive|guideline|rule|message|programming)"
    r"|(?:reveal|show|print|repeat|tellme|output)(?:me)?(?:the|your|all|entire|full){1,3}(?:system|hidden|secret|initial)?(?:prompt|"
    r"instruction)"
    r"|youarenow(?:an?|in|the|free|dan)|doanythingnow|developermode|jailbreak|pretend(?:tobe|youare)|fromnowonyou"
)
"""For text whose gaps are lost: letters only."""
_TURNED: Final = (
    r"\b(?:ignore|disregard|forget|override|bypass)\s+(?:all|any|every|everything|the|your|prior|previous|earlier|above)\b"
    r"|\b(?:reveal|print|show|repeat)\s+(?:me\s+)?(?:the|your)\s+(?:\w+\s+)?(?:prompt|instructions)\b|\byou are now\b|\bsystem prompt\b"
)
_LETTERS = re.compile(r"[^a-z]+")
_TURNING: Final = frozenset({"it orders a model to drop its instructions", "it gives a model a role", "it speaks of a model's prompt"})
"""What intake's phrases mean that also turns a model in a question. The others are orders that a person may give."""


_MENTIONED: Final = frozenset({"jailbreak", "prompt injection"})
"""Words that a document has no business with, and a question may: hints here."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    phrases: Any
    weights: tuple[float, ...]
    likely: Any
    squashed: Any
    turned: Any


def weigh(texts: Sequence[str], unfolded: str, backwards: Iterable[str] = ()) -> float:
    """How sure the phrases are, in [0, 1]: 1 - the product of (1 - weight) over all found in any reading.

    `texts` are folded readings, the first that of the text as it stands; `unfolded` is that text; `backwards` are readings by
    rot13 and such.
    """
    compiled = _compiled()
    found: set[int] = set()
    for text in texts:
        found.update(sets.matches(compiled.phrases, text))
    spared = 1.0
    for number in found:
        if number < len(compiled.weights):
            spared *= 1 - compiled.weights[number]
    if (len(texts) > 1 and any(compiled.squashed.search(_LETTERS.sub("", text)) for text in texts[1:])) or any(
        compiled.turned.search(text) for text in backwards
    ):
        spared *= 1 - SURE
    # Intake's own patterns backtrack, so they are asked only where a wider RE2 pattern says that one may fit. RE2's \b knows ASCII only.
    if spared > 1 - SURE and (not unfolded.isascii() or len(sets.matches(compiled.likely, texts[0])) > 1) and _turns(unfolded):
        spared *= 1 - SURE
    return 1 - spared


def _turns(text: str) -> bool:
    from pipelines.intake.screen import instructions
    from pipelines.screen_config import Screen

    return any(
        reason in _TURNING and text[start:end].lower() not in _MENTIONED for start, end, reason in instructions.spans(text, Screen())
    )


@lru_cache(maxsize=1)
def _compiled() -> _Compiled:
    from pipelines.intake.screen import phrases as intake

    foreign = [rf"(?:{first})[^\n]{{0,80}}?(?:{then})" for first, then in _FOREIGN]
    patterns = [pattern for _, pattern in PHRASES] + foreign
    likely = [sets.wider(phrase.pattern.pattern) for phrase in intake.PHRASES if phrase.reason in _TURNING]
    import re2  # type: ignore[import-untyped]

    return _Compiled(
        phrases=sets.compiled(patterns),
        weights=(*(weight for weight, _ in PHRASES), *(SURE for _ in _FOREIGN)),
        likely=sets.compiled(likely),
        squashed=re2.compile(_SQUASHED),
        turned=re2.compile(_TURNED),
    )
