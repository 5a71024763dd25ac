"""Names of people by what stands around them, and by lists of common ones.

A thin recogniser: a title, a label, a word of kinship, or a name of the lists. What it does not cover: a name that is in no list and
stands without such a word ("Okonkwo came again today"), names written small, nicknames, names spelt over two lines, and names that are
also words (Will, Grace, Long) unless a title or a label stands before them. The record's own subjects do not depend on any of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import regex  # type: ignore[import-untyped]

_WORD = r"(?:\p{Lu}\.(?!\w)|(?:O['’]|Mc|Mac|D['’]|St\.\s)?\p{Lu}[\p{L}'’-]+)"
_PARTICLE = r"(?:(?:de|da|del|der|den|di|du|la|le|van|von|bin|al|el|ter)[ \t]+)"
NAME = rf"{_WORD}(?:[ \t]+{_PARTICLE}*{_WORD}){{0,3}}"

_TITLE = r"(?:Drs?|Mrs?|Ms|Miss|Mx|Prof|Professor|Doctor|Nurse|Sister|Rev|Reverend|Sir|Madam|Father|Rabbi|Judge|Captain|Sgt|Lt)\b\.?"
_LABEL = (
    r"(?i:patient(?:'s)? name|name|full name|surname|signed(?: by)?|signature|dictated by|seen by|examined by|reviewed by|referred by"
    r"|referred to|written by|transcribed by|admitted by|discharged by|attending|provider|physician|surgeon|cc|emergency contact"
    r"|next of kin|contact|spouse|guardian|regards|sincerely|yours|witness(?:ed by)?|interpreter|accompanied by|my name is|is called"
    r"|is named|named|known as|spoke (?:to|with)|I am|this is)"
)
_KIN = (
    r"(?i:son|daughter|wife|husband|mother|father|sister|brother|partner|friend|niece|nephew|aunt|uncle|cousin|granddaughter|grandson|grandmother"
    r"|grandfather|neighbou?r|carer|caregiver|fianc[ée]e?|girlfriend|boyfriend|colleague|roommate|social worker|nurse|therapist"
    r"|pharmacist|optometrist|dentist)"
)

_RULES: Final = (
    (regex.compile(rf"\b{_TITLE}[ \t]+(?P<name>{NAME})"), 1),
    (regex.compile(rf"\b{_LABEL}[ \t]*[:,]?[ \t]+(?:{_TITLE}[ \t]+)?(?P<name>{NAME})"), 1),
    (regex.compile(rf"\b{_KIN},?[ \t]+(?:is[ \t]+)?(?P<name>{NAME})"), 1),
    (regex.compile(rf"\b(?i:patient|pt|client|resident)[ \t]*:?[ \t]+(?P<name>{NAME})"), 2),
    (regex.compile(rf"(?P<name>{NAME}),?[ \t]+(?:M\.?D|R\.?N|D\.?O|N\.?P|P\.?A-?C|Ph\.?D|DDS|FRCP|MBBS)\b"), 1),
    (regex.compile(rf"\b(?i:dear|hi|hello|hey|thanks|thank you),?[ \t]+(?P<name>{NAME})"), 2),
)
_TOKEN: Final = regex.compile(_WORD)

# Words that begin sentences, headings and months: a name does not hold them.
_STOP_TEXT = """
a about above after speaker bye goodbye again all allergies also am an and any april are as assessment at august back been before blood
both but by can chest chief chronic clinic complaint complains could daily date day december denies department did discharge do does
doctor doing don't done dose during each emergency exam examination family february few fever follow for friday from general good great
had has have he headache hello her here hi him his history home hospital how however i i'll i'm i've if in is it it's january july june
just last lives male female man woman march may medication medications medicine miss monday morning mother mr mrs ms my name neck new
next night no normal not note november now nurse october of ok okay on once one only or other our out over pain past patient patients
pharmacy phone physical plan please pressure problem pulse reports review right room said saturday she since so some sorry started
stopped still sunday surgery than thank thanks that that's the their them then there these they this those thursday to today tomorrow
tuesday um uh until up us very was we wednesday week well were what when where which who why will with without would year years yes
yesterday you you're your september father brother sister son daughter wife husband who's oh hmm right sure so take taking came seen
walked brought drove rang lisinopril metformin aspirin ibuprofen type stage grade diabetes hypertension copd asthma act bureau part
section appendix regulation consumer
"""
STOP: Final = frozenset(_STOP_TEXT.split())

_GIVEN_TEXT = """
aaron abdul abigail adam adrian agnes ahmed aisha alan albert alejandro alex alexander alexandra alfred ali alice alicia alison allison
amanda amber amelia amir amy ana andre andrea andrew angela anita ann anna anne annie anthony antonio arthur ashley audrey barbara
beatrice benjamin bernard beth bethany betty beverly bob bobby bonnie bradley brandon brenda brian bridget bruce bryan caleb cameron
carl carla carlos carmen carol caroline carolyn catherine cathy cecilia chad charles charlotte chen cheryl chloe chris christian
christina christine christopher cindy claire clara claudia clarence colin connie connor craig crystal curtis cynthia dale daniel
danielle darren david dawid deborah debra denise dennis derek diana diane diego dmitri dolores dominic donald donna doris dorothy
douglas dylan edith eduardo edward edwin eileen elaine eleanor elena eli elijah elizabeth ella ellen emily emma enrique eric erica erik
erin esther ethan eugene eva evan evelyn fatima felix fernando fiona florence frances francis francisco fred frederick gabriel gary
geoffrey george gerald geraldine gerard gina gladys glen glenn gloria gordon graham greg gregory greta gwen hannah harold harriet harry
harvey hassan heather hector heidi helen helena henry herbert howard hugh ian ibrahim ingrid irene iris isaac isabel isabella ivan jack
jackie jacob jacqueline jake james jamie jan jane janet janice jared jason javier jean jeff jeffrey jennifer jenny jeremy jerome jerry
jesse jessica jesus jill jim jimmy joan joanna joanne joe joel john johnny jon jonathan jordan jorge jose joseph joshua joyce juan
juanita judith judy julia julian julie justin karen karl kate katherine kathleen kathryn kathy katie keith kelly ken kenneth kevin kim
kimberly kristen kristin kyle larry laura lauren laurie lawrence leah lena leo leon leonard leslie lewis liam lillian linda lindsay lisa
lloyd logan lois lori lorraine louis louise lucas lucia lucy luis luke lydia lynn madison malcolm manuel marco marcus margaret maria
marie marilyn mario marion marjorie marta martha martin marvin mary matthew maureen maurice megan mei melanie melissa melvin michael
michele michelle miguel mike mildred miriam mohamed mohammed molly monica muhammad nancy naomi natalie natasha nathan neil nicholas
nicole nina noah nora norma norman olga oliver olivia omar oscar owen pamela patricia patrick paul paula pauline pedro peggy peter
philip phillip phyllis priya rachel rafael ralph ramon randall randy raymond rebecca renee ricardo richard rita robert roberta roberto
rodney roger roland ronald rosa rosemary roy russell ruth ryan sally samantha samuel sandra sara sarah scott sean sebastian sergio seth
shane shannon sharon sheila shirley simon sofia sonia sophia sophie stacy stanley stella stephanie stephen steve steven stuart susan
suzanne sven sylvia tamara tanya tara ted teresa terry thelma theodore theresa thomas tiffany tim timothy tina todd tom tomas tommy tony
tracy travis tyler valerie vanessa vera vernon veronica vincent virginia vivian walter wanda warren wayne wendy wesley wilhelm william
xavier yolanda yusuf yvonne zachary zoe
"""
GIVEN: Final = frozenset(_GIVEN_TEXT.split())

_SURNAMES_TEXT = """
adams alexander allen alvarez anderson andrews armstrong bailey barnes bennett bradley brooks bryant butler campbell carlson carpenter
carroll carter castillo castro chapman chavez clark coleman collins contreras cooper cox crawford cruz cunningham daniels davidson davis
diaz dixon duncan edwards elliott ellis espinoza estrada evans ferguson fernandez fernando fisher fleming fletcher flores foster
franklin freeman fuentes garcia gardner garza gibson gilbert gomez gonzales gonzalez graham greene griffin guerrero gutierrez guzman
hamilton hansen hanson harper harris harrison hawkins hayes henderson hernandez herrera hicks hoffman holmes howard hudson hughes
ibrahim jackson jacobs jenkins jensen jimenez johnson johnston jones jordan kaur kelley kelly kennedy khan kowalski kumar larson lawson
leclerc lewis lopez lynch maldonado marquez marshall martinez mason matthews mccoy mcdonald medina mendez mendoza meyer miller mitchell
molina montgomery morales moreno morgan morris morrison mueller muller munoz murphy murray myers nelson nguyen novak nunez obrien
o'brien olson ortega ortiz padilla parker patel patterson payne pearson perez perkins perry peters petersen peterson pham phillips
porter powell ramirez ramos reyes reynolds richards richardson rios rivera roberts robertson robinson rodriguez rogers rojas romero
rossi ruiz russell ryan salazar sanchez sanders sandoval santiago santos schmidt schneider schultz schwartz shaw simmons simpson singh
smith snyder soto spencer stephens stevens stewart sullivan tanaka taylor thompson torres tran tucker turner valdez vargas vasquez vega
wagner walker wallace warner watkins watson weaver weber webb welch wheeler williams williamson wilson wong wright yamamoto yang zhang
zimmerman
"""
SURNAMES: Final = frozenset(_SURNAMES_TEXT.split())


def find(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every name, possibly overlapping. A word that was part of a name once is one throughout the text."""
    found: list[tuple[int, int]] = []
    for rule, least in _RULES:
        for match in rule.finditer(text):
            span = _trim(text, *match.span("name"))
            if span is not None and (least == 1 or len(_TOKEN.findall(text, *span)) >= least or _listed(text[slice(*span)])):
                found.append(span)
    found += _from_lists(text)
    yield from found
    words = {_plain(token.group()) for start, end in found for token in _TOKEN.finditer(text, start, end)}
    for token in _TOKEN.finditer(text):
        word = _plain(token.group())
        if len(word) > 2 and word in words and word not in STOP:
            yield token.span()


def _trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The words before the first one that no name holds; None when nothing is left."""
    kept = None
    for token in _TOKEN.finditer(text, start, end):
        if _plain(token.group()) in STOP:
            break
        kept = token.end()
    return None if kept is None else (start, kept)


def _from_lists(text: str) -> Iterator[tuple[int, int]]:
    tokens: list[Any] = list(_TOKEN.finditer(text))
    for index, token in enumerate(tokens):
        word = _plain(token.group())
        if word not in GIVEN and word not in SURNAMES:
            continue
        start, end = token.span()
        if index and word in SURNAMES and _joined(text, tokens[index - 1], token) and _plain(tokens[index - 1].group()) not in STOP:
            start = tokens[index - 1].start()
        for before, after in zip(tokens[index:], tokens[index + 1 : index + 3], strict=False):
            if not _joined(text, before, after) or _plain(after.group()) in STOP:
                break
            end = after.end()
        yield start, end


def _joined(text: str, before: Any, after: Any) -> bool:
    return regex.fullmatch(rf"[ \t]+{_PARTICLE}*", text[before.end() : after.start()]) is not None


def _listed(words: str) -> bool:
    return any(_plain(word) in GIVEN or _plain(word) in SURNAMES for word in words.split())


def _plain(word: str) -> str:
    return str(regex.sub(r"['’]s$", "", word.rstrip(".,-"))).lower()
