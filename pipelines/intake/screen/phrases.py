"""The patterns behind `instructions`: what is said to a model, and neither by law nor by medicine.

Each is tried on one sentence of lower-case text. It names words of which a text must hold one, so that ordinary text costs a few look-ups
and no regular expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Phrase:
    """What it means, words of which one must be there, and the pattern."""

    reason: str
    anchors: tuple[str, ...]
    pattern: Any


def _words(listed: str) -> tuple[str, ...]:
    return tuple(listed.split("|"))


_NEAR = r"[^\n]{0,160}?"
_ORDER = r"(?:^|[,;:]\s*)(?:please\s+)?"
_ANSWERS = r"(?:respon[sc]e|repl(?:y|ies)|answer|output|completion)s?"
_ANY_ANSWERS = rf"(?:{_ANSWERS}|(?:message|summary|text)s?)"
_YOUR_ANSWER = rf"\byour\s+(?:\w+\s+)?{_ANSWERS}\b"
_SHAPE = (
    r"(?:add|append|insert|include|integrate|incorporate|modify|alter|adjust|change|augment|enhance|extend|enrich|embed|weave|replace|"
    r"substitute|swap|convert|transform|render|encode|encrypt|cipher|obfuscate|reverse|invert|flip|mirror|scramble|shuffle|jumble|rearrange|"
    r"misspell|anagram|remove|strip|omit|drop|group|combine|introduce|mention|promote|advertise|endorse|recommend|highlight|emphasi[sz]e|"
    r"suggest|hint|tease|inject|sprinkle|conceal|hide|disguise|express|finish|end|begin|start|conclude|close|open|craft|formulate|structure|"
    r"format|phrase|write|give|provide|deliver|present|return|print|repeat|use|apply|employ|make|spread|share|claim|state|assert|argue|invite|"
    r"encourage|persuade|urge|direct|redirect|point|offer|translate|turn|put|place|limit|restrict|keep|respond|reply|answer)"
)
_LANGUAGES = _words(
    "english|french|german|spanish|italian|portuguese|dutch|swedish|norwegian|danish|finnish|polish|czech|russian|ukrainian|greek|"
    "turkish|arabic|hebrew|hindi|urdu|bengali|chinese|mandarin|cantonese|japanese|korean|vietnamese|thai|indonesian|swahili|latin|"
    "esperanto"
)
_LANGUAGE = rf"(?:{'|'.join(_LANGUAGES)})"
_RULES = (
    r"(?:instructions?|prompts?|commands?|directives?|guidelines?|directions|rules|constraints|restrictions|programming|training|safeguards?|"
    r"filters?|tasks?|assignments?|requests?|questions?|orders|context|conversation)"
)
_STRICT_RULES = r"(?:instructions|prompts?|programming|training|guidelines|rules|directives|constraints|safeguards)"
_BEFORE = (
    r"(?:previous(?:ly)?|prior|above|earlier|preceding|foregoing|former|initial|original|existing|current|last|past|other|system|"
    r"safety|given)"
)
_CODES = (
    r"(?:base[ -]?(?:16|32|58|64|85)|rot[ -]?13|hex(?:adecimal)?|morse|caesar|vigen[eè]re|atbash|leet(?:speak)?|1337|pig latin|ascii|"
    r"binary(?: code)?|emojis?|cipher(?:text)?|(?:homophonic|alphanumeric|(?:mono|poly)alphabetic) substitution|url[- ]encod\w+|"
    r"html entit\w+|unicode)"
)
_CODE_WORDS = _words("base|rot|hex|morse|caesar|vigen|atbash|leet|1337|pig|ascii|binary|emoji|cipher|substitution|encod|entit|unicode")
_TEXTS = (
    r"(?:poems?|haikus?|sonnets?|limericks?|lyrics|songs?|jokes?|riddles?|puns?|stor(?:y|ies)|fairy tales?|novels?|essays?|blog posts?|"
    r"tweets?|hashtags?|captions?|slogans?|taglines?|jingles?|screenplays?|scripts?|monologues?|speech(?:es)?|headlines?|"
    r"sales pitch(?:es)?|recipes?|trivia|tongue twisters?|quiz(?:zes)?|crosswords?|role[- ]?plays?|motivational quotes?)"
)
_TEXT_WORDS = _words(
    "poem|haiku|sonnet|limerick|lyrics|song|joke|riddle|pun|stor|tale|novel|essay|post|tweet|hashtag|caption|slogan|tagline|jingle|"
    "screenplay|script|monologue|speech|headline|pitch|recipe|trivia|twister|quiz|crossword|play|quote"
)
_MAKE = (
    r"(?:write|compose|draft|create|generate|produce|invent|craft|tell|sing|recite|give|provide|develop|design|suggest|share|come up with|"
    r"think of|make up)"
)
_CODE_WORK = (
    r"(?:python|javascript|typescript|java|c\+\+|c#|php|ruby|golang|rust|sql|mysql|bash|html|css|regex|regular expression|shell script|"
    r"recursion|api endpoint)"
)
_CODE_WORK_WORDS = _words("python|javascript|typescript|java|c++|c#|php|ruby|golang|rust|sql|bash|html|css|reg|shell|recursion|api")
_GIVEN = (
    r"(?:this|that|these|the (?:following|above|below|given|previous|preceding|entire|provided|first|last)|my|our|"
    r"(?:the )?(?:e-?mail|passage|paragraph|article|conversation|transcript)\b)"
)
_A_TEXT = (
    r"(?:text|e-?mails?|messages?|sentences?|paragraphs?|passages?|articles?|documents?|conversations?|reviews?|words?|phrases?|content|code|"
    r"tweets?|comments?|feedback|thread|snippet|essay|posts?|statement)"
)
_MODEL = (
    r"(?:ai|a\.i\.|artificial intelligence|(?:large )?language model|llm|chat ?bot|chatgpt|gpt(?:-?\d\w*)?|claude|gemini|copilot|bard|"
    r"assistant|neural network|dan|virtual agent)"
)

_DROP = "it orders a model to drop its instructions"
_ROLE = "it gives a model a role"
_PROMPT = "it speaks of a model's prompt"
_ANSWER = "it shapes a model's answer"
_CODE = "it orders text in a code"
_AROUND = "it orders work on the text around it"


def _phrase(reason: str, anchors: str | tuple[str, ...], *patterns: str) -> Phrase:
    words = _words(anchors) if isinstance(anchors, str) else anchors
    return Phrase(reason, words, regex.compile("|".join(patterns), regex.V1))


PHRASES: tuple[Phrase, ...] = (
    _phrase(
        _DROP,
        "ignor|disregard|forget|overr|bypass|discard|neglect|skip|not follow|n't follow|stop follow|obey",
        r"\b(?:ignore|disregard|forget|override|overrule|bypass|discard|neglect|skip|do not (?:follow|obey)|don't (?:follow|obey)|"
        r"stop following)\b(?:\W+\w+){0,3}?\W+"
        rf"(?:{_BEFORE}\W+(?:\w+\W+){{0,2}}?{_RULES}|(?:all|any|every|your|the|these|those)\W+(?:of\W+)?(?:your\W+|the\W+)?"
        rf"{_STRICT_RULES}\b(?!\W+(?:of|in|under|set|for|on|from|given by)\b))",
    ),
    _phrase(
        _DROP,
        "ignore|disregard|forget",
        r"\b(?:ignore|disregard|forget)\b\W+(?:about\W+)?(?:all\W+(?:of\W+)?)?(?:everything|anything|all|what(?:ever)?)\W+(?:\w+\W+){0,4}?"
        r"(?:before|above|previously|prior|earlier|(?:told|said|learned|written|instructed|asked|mentioned)(?:\W+\w+){0,2}?)\b",
    ),
    _phrase(
        _DROP,
        "vergiss|vergessen|ignor|oubli|olvid",
        r"\b(?:vergiss|ignoriere|vergessen sie|ignorieren sie)\b[^\n]{0,60}\b(?:anweisung\w*|aufgabe\w*|befehle|instruktion\w*|alles)\b",
        r"\b(?:ignore[zr]?|oublie[zr]?)\b[^\n]{0,40}\b(?:instructions|consignes)\b[^\n]{0,30}\b(?:précédentes|antérieures|ci-dessus)\b",
        r"\b(?:ignora|ignore|olvida|olvide)\b[^\n]{0,40}\binstrucciones\b",
    ),
    _phrase(
        _ROLE,
        "you are|you're|you will be|act|behave|respond|speak|write|answer|pretend|imagin|play|simulate",
        r"\b(?:you are|you're|you will be|act|behave|respond|speak|write|answer|pretend (?:to be|you(?:'re| are))|"
        r"imagine (?:you(?:'re| are)|being)|role-?play|play the role|simulate)\b"
        rf"(?:\W+\w+){{0,4}}?\W+(?:a|an|the|my|as)\W+(?:\w+\W+){{0,4}}?\b{_MODEL}\b",
    ),
    _phrase(
        _ROLE,
        "now on|henceforth|rest of|you to|pretend|play as|impersonate| mode|do anything|jailbreak",
        r"\b(?:from now on|henceforth|for the rest of (?:this|the|our) (?:conversation|chat|session))\b\W+(?:please\W+)?"
        r"(?:you\W+(?:are|will|must|shall|should|can)\b|(?:act|pretend|respond|reply|answer|speak)\b)",
        r"\b(?:i want|i'd like|i would like|i need)\s+you\s+to\s+(?:act|pretend|behave|role-?play|respond|reply|simulate|impersonate|"
        r"ignore|forget)\b",
        r"\b(?:pretend (?:to be|that you|you are|you're)|role-?play as|impersonate)\b[^\n]{0,80}\b(?:character|model|bot|hacker|expert|"
        r"terminal|console|interpreter|persona)\b",
        r"\b(?:developer|jailbreak|god|debug|unrestricted|dan) mode\b|\bdo anything now\b|\bjailbreak\b",
    ),
    _phrase(
        _PROMPT,
        "prompt|instruction|system message|language model|task|order|directive",
        r"\b(?:system|hidden|secret|initial|original|pre-?) ?prompts?\b",
        r"\b(?:print|reveal|show|repeat|output|display|leak|spell ?check|tell me|expose|disclose|what (?:is|was|are|were))\b[^\n]{0,40}"
        r"\b(?:your|the|all)\b[^\n]{0,20}"
        r"\b(?:prompts?|prompt texts?|instructions you|above instructions|initial instructions|system message)\b",
        r"\b(?:new|updated|important|additional|next|following) (?:instructions?|task|order|directive) (?:for|to) (?:the |you,? |your )?"
        r"(?:ai|assistant|model|llm|chat ?bot)\b|\bas an? (?:ai|large) language model\b|\bprompt injection\b",
    ),
    _phrase(_ANSWER, "your ", rf"(?:^|[,;:]\s*|\b(?:please|then|and|must|should|always|also|you)\s+){_SHAPE}\b{_NEAR}{_YOUR_ANSWER}"),
    _phrase(
        _ANSWER,
        "your ",
        r"^\W*(?:in|within|throughout|for|with|at the (?:end|start|beginning|top|bottom) of|before|after)\s+(?:all\s+(?:of\s+)?)?"
        rf"your\s+(?:\w+\s+)?{_ANY_ANSWERS}\s*[,:]",
    ),
    _phrase(
        _ANSWER,
        "answer|respond|reply|write|speak|output",
        rf"{_ORDER}(?:answer|respond|reply|write|speak|output)\s+(?:only\s+|exclusively\s+|entirely\s+|solely\s+|back\s+|everything\s+)?"
        rf"(?:in|with|using|as)\s+(?:the\s+)?(?:{_LANGUAGE}|{_CODES}|"
        r"rhymes?|all caps|capital letters|upper-?case|the (?:style|voice|tone) of)\b",
    ),
    _phrase(
        _ANSWER,
        "letter|vowel|consonant|character|word|space|punctuation",
        rf"{_ORDER}{_SHAPE}\b{_NEAR}\b(?:letters?|vowels?|consonants?|characters|words?|spaces|punctuation|main keywords)\b{_NEAR}"
        rf"\b(?:your|(?:the|this|each|every|its))\s+(?:(?:next|final|whole|entire|own|first|last|previous|above|following)\s+)?{_ANSWERS}\b",
    ),
    _phrase(
        _CODE,
        _CODE_WORDS,
        r"\b(?:encode|decode|encrypt|decrypt|convert|translate|rewrite|transcribe|cipher|decipher|obfuscate|represent|express|write|answer|"
        r"respond|reply|communicate|output|transform|render|turn|present|provide|substitute|replace)\b"
        rf"{_NEAR}\b(?:in|into|to|using|with|via|as|from|by)\s+(?:an?\s+|the\s+)?(?:\w+\s+){{0,2}}?{_CODES}\b(?!\s+(?:gas|acid|stain))",
    ),
    _phrase(
        _CODE,
        "revers|invert|flip|mirror|scrambl|shuffl|jumbl|rearrang",
        rf"{_ORDER}(?:reverse|invert|flip|mirror|scramble|shuffle|jumble|rearrange)\s+(?:up\s+)?(?:the\s+)?(?:(?:order|sequence)\s+of\s+)?"
        r"(?:(?:all|each|every|the|your|its)\s+)*(?:text|letters?|characters?|words?|sentences?|string|phrases?)\b",
    ),
    _phrase(
        _CODE,
        "replace|substitute|swap|exchange|convert",
        rf"{_ORDER}(?:replace|substitute|swap|exchange|convert)\s+(?:(?:the|all|each|every|any|\w+th|third|second)\s+)*"
        r"(?:letters?|vowels?|consonants?|characters?)\b[^\n]{0,40}\b(?:with|by|to|for)\b",
    ),
    _phrase(
        "it orders a text of a kind that belongs elsewhere",
        _TEXT_WORDS,
        rf"(?:^|[,;:]\s*|\b(?:please|can you|could you|would you|then|and|to)\s+){_MAKE}\s+(?:(?:me|us|him|her|them)\s+)?"
        rf"(?:(?:a|an|the|some|one|two|three|four|five|ten|another|\d+)\s+)?(?:[\w'-]+\s+){{0,3}}?{_TEXTS}\b"
        r"(?!\s+of\s+(?:the\s+)?(?:patient|illness|symptom|pain))",
    ),
    _phrase(
        "it orders a translation",
        (*_LANGUAGES, "translat"),
        rf"\btranslate\b{_NEAR}\b(?:in)?to\s+{_LANGUAGE}\b",
        rf"\b(?:how (?:do|would|can) (?:you|i|we|one) say|what(?:'s| is| are| does))\b[^\n]{{1,80}}\bin {_LANGUAGE}\b\W*\??",
        rf"\b(?:provide|give|what is|what's|find|tell me|say)\b[^\n]{{0,30}}\b{_LANGUAGE} "
        r"(?:equivalent|translation|word|version|term|phrase)\b",
    ),
    _phrase(
        _AROUND,
        "summar|phras|rewrit|proofread|translat|analy|classif|categori|determin|detect|identif|evaluat|assess|rate|extract|correct|simplif|"
        "shorten|condens|tokeni|label",
        r"(?:^|[,;:]\s*|\b(?:please|can you|could you|would you|now)\s+)(?:summari[sz]e|paraphrase|rewrite|rephrase|proofread|translate|"
        r"analy[sz]e|classify|categori[sz]e|determine|detect|identify|evaluate|assess|rate|extract|correct|simplify|shorten|condense|tokenize|"
        rf"label)\b[^\n]{{0,60}}?\b{_GIVEN}\s*(?:\w+\s+){{0,2}}?{_A_TEXT}\b",
    ),
    _phrase(
        _AROUND,
        "sentiment|tone|mood|polarity|positive|negative|sarcas",
        rf"\b(?:sentiment|emotional tone|overall tone|mood|polarity)\b[^\n]{{0,50}}\b(?:of|in|behind|expressed|conveyed)\b"
        rf"[^\n]{{0,40}}\b{_A_TEXT}\b",
        rf"^\W*(?:is|does|are|do)\b[^\n]{{0,80}}\b{_A_TEXT}\b[^\n]{{0,60}}\b(?:positive|negative|sarcastic|sentiment)\b",
    ),
    _phrase(
        "it orders computer code",
        (*_CODE_WORK_WORDS, "rm -rf", "curl", "wget"),
        r"\b(?:write|show|create|generate|give|provide|explain|implement|debug|fix|optimi[sz]e|refactor|code|develop|design)\b[^\n]{0,80}"
        rf"\b(?:in|using|of|with|a|an|simple|how)\s+(?:\w+\s+)?{_CODE_WORK}\b",
        rf"\b(?:differences?|compare)\b[^\n]{{0,60}}\b{_CODE_WORK}\b",
        r"\brm -rf\b|\b(?:curl|wget)\s+https?://",
    ),
    _phrase(
        "it sends readers to a download",
        "www.|http|.xyz|.top|.click|.zip|.ru|.tk|.example",
        r"\b(?:download|install|run|execute|open)\b[^\n]{0,60}\b(?:tool|app|software|update|extension|plugin|file|attachment|game|browser|"
        r"program|executable|\.exe)\b[^\n]{0,60}(?:\bwww\.|https?://|\b[\w-]+\.(?:xyz|top|click|zip|ru|tk|example))",
    ),
)
