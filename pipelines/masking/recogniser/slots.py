"""What fills the `{slots}` of a template: a text and the label it carries, `O` for none."""

from __future__ import annotations

import random
from collections.abc import Callable

from pipelines.masking.recogniser import plain, words
from pipelines.masking.recogniser.pools import Pools

Piece = tuple[str, str]
"""Text and label: `NAME`, `PLACE`, `ORG`, `ADDRESS` or `O`."""

_PARTICLES = ("de", "van", "von", "van der", "de la", "del", "bin", "al", "da", "dos", "le", "di", "ter", "el", "ben", "st.")


class Filler:
    """Draws values from pools; `common` of the names are common in English, `coined` of the others, about, stand in no list."""

    def __init__(self, pools: Pools, rng: random.Random, coined: float = 0.35, common: float = 0.4) -> None:
        self._pools, self._rng, self._coined, self._common = pools, rng, coined, common
        self._given, self._last, self._towns = pools.chains()
        self._plain: dict[str, Callable[[], str]] = self._plain_slots()

    def fill(self, slot: str) -> Piece:
        """The value of one slot."""
        rng = self._rng
        match slot:
            case "name":
                return self.name(), "NAME"
            case "upper_name":
                return self.name().upper(), "NAME"
            case "first":
                return self.first() if rng.random() < 0.9 else rng.choice("ABCDEFGHJKLMNPRST") + ".", "NAME"
            case "last":
                return self.last(), "NAME"
            case "last_first":
                return f"{self.last()}, {self.first()}", "NAME"
            case "city":
                return (self.city(), "PLACE") if rng.random() < 0.85 else (rng.choice(words.STATES + words.COUNTRIES), "PLACE")
            case "upper_city":
                return self.city().upper(), "PLACE"
            case "country":
                return (rng.choice(words.COUNTRIES), "PLACE") if rng.random() < 0.8 else self.fill("city")
            case "state":
                return rng.choice(words.STATES), "PLACE"
            case "state_code":
                return rng.choice(words.STATE_CODES), "PLACE"
            case "org":
                return self.org(), "ORG"
            case "street":
                return self.street(), "ADDRESS"
            case "address":
                return self.address(", "), "ADDRESS"
            case "address_ml":
                return self.address("\n"), "ADDRESS"
            case "crossing":
                roads = [self.road() for _ in range(2)]
                return rng.choice((" and ", " & ", " / ", " at ")).join(roads), "ADDRESS"
        return self._plain[slot](), "O"

    # people

    def _is_common(self) -> bool:
        return self._rng.random() < self._common

    def first(self) -> str:
        """A first name, sometimes coined, sometimes of two parts."""
        rng = self._rng
        if self._is_common():
            return rng.choice(self._pools.common[0])
        if rng.random() < self._coined:
            return self._given.coin(rng)
        name = rng.choice(rng.choice(self._pools.people)[0])
        return f"{name}-{rng.choice(rng.choice(self._pools.people)[0])}" if rng.random() < 0.02 else name

    def last(self) -> str:
        """A last name: listed, coined, hyphenated, with a particle, or a plain word."""
        rng = self._rng
        if self._is_common():
            return rng.choice(self._pools.common[1])
        draw = rng.random()
        if draw < self._coined:
            base = self._last.coin(rng)
        elif draw < self._coined + 0.03:
            base = rng.choice(words.COMMON + words.ADJECTIVES).title()
        else:
            base = rng.choice(rng.choice(self._pools.people)[1])
        draw = rng.random()
        if draw < 0.04:
            return f"{base}-{rng.choice(rng.choice(self._pools.people)[1])}"
        if draw < 0.09:
            return f"{rng.choice(_PARTICLES)} {base}"
        return f"{rng.choice(('Mc', 'Mac', chr(79) + chr(39), 'Fitz', 'De', 'Al-', 'Ben '))}{base}" if draw < 0.12 else base

    def name(self) -> str:
        """A person as people are written: mostly first and last name, often less, sometimes more."""
        rng = self._rng
        given, last = rng.choice(self._pools.people)
        if self._is_common():
            first, surname = (rng.choice(entries) for entries in self._pools.common)
        else:
            first = rng.choice(given) if rng.random() > self._coined else self.first()
            surname = rng.choice(last) if rng.random() > self._coined else self.last()
        letter = rng.choice("ABCDEFGHIJKLMNOPRSTVW")
        draw = rng.random()
        if draw < 0.55:
            return f"{first} {surname}"
        if draw < 0.69:
            return first
        if draw < 0.76:
            return surname
        if draw < 0.81:
            return f"{first} {letter}. {surname}"
        if draw < 0.84:
            return f"{first} {letter} {surname}"
        if draw < 0.88:
            return f"{first} {self.first()} {surname}"
        if draw < 0.91:
            return f"{letter}. {surname}"
        if draw < 0.93:
            return f"{letter}.{rng.choice('ABCDEFGHIJKLM')}. {surname}"
        if draw < 0.96:
            return f"{first} {surname} {self.last()}"
        if draw < 0.98:
            return f"{first} {surname}{rng.choice((' Jr.', ' Jr', ', Jr.', ' III', ' Sr.', ' II'))}"
        return f"{surname}, {first}"

    # places

    def city(self) -> str:
        """A town: well known, of some locale, or coined, of one word or several."""
        rng = self._rng
        draw = rng.random()
        if draw < self._coined * 0.9:
            made = self._towns.coin(rng)
            return rng.choice(words.TOWN_SHAPES).format(x=made, y=self._towns.coin(rng)) if draw < self._coined * 0.35 else made
        return rng.choice(words.CITIES) if draw < 0.6 else rng.choice(self._pools.cities)

    def road(self) -> str:
        """A street without a number."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.3:
            stem = rng.choice(words.STREET_WORDS)
        elif draw < 0.4:
            stem = f"{rng.choice(words.STREET_WORDS)} {rng.choice(words.STREET_WORDS)}"
        elif draw < 0.5:
            number = rng.randint(1, 190)
            stem = f"{number}{'th' if number % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
        elif draw < 0.8:
            stem = rng.choice((self._last.coin(rng), self._towns.coin(rng), self.first(), self.last(), f"{self.first()} {self.last()}"))
            if rng.random() < 0.6:
                return rng.choice(words.STREET_FOREIGN if rng.random() < 0.5 else words.STREET_PHRASES).format(x=stem)
        else:
            return rng.choice(self._pools.streets)
        compass = rng.choice(("N ", "S ", "East ", "W. ", "North ")) if rng.random() < 0.1 else ""
        return f"{compass}{stem} {rng.choice(words.STREET_TAILS)}"

    def street(self) -> str:
        """A street with its number, before or after it, and perhaps a flat."""
        rng = self._rng
        number = str(rng.choice((rng.randint(1, 99), rng.randint(100, 999), rng.randint(1000, 19999))))
        number += rng.choice("ABCabc") if rng.random() < 0.05 else ""
        number += f"{rng.choice('-/')}{rng.randint(1, 40)}" if rng.random() < 0.05 else ""
        road = self.road()
        draw = rng.random()
        line = (
            f"{number} {road}"
            if draw < 0.7
            else f"{road} {number}"
            if draw < 0.93
            else f"{road}, {number}"
            if draw < 0.97
            else f"{number}, {road}"
        )
        if rng.random() < 0.18:
            unit = f"{rng.choice(words.UNITS)} {rng.randint(1, 999)}{rng.choice(('', '', 'B', 'C'))}"
            line = f"{line}{rng.choice((' ', ', '))}{unit}"
        elif rng.random() < 0.12:
            line = f"{line}{rng.choice((' ', ', '))}{rng.choice(words.FLOORS).format(n=rng.randint(1, 60), x=rng.choice('ABCD'))}"
        return f"P.O. Box {rng.randint(1, 9999)}" if rng.random() < 0.03 else line

    def zip(self) -> str:
        """A postal code of one of many countries' shapes."""
        rng = self._rng
        shape = rng.choice(
            (
                "#####",
                "#####",
                "#####",
                "####",
                "######",
                "#####-####",
                "A#A #A#",
                "AA# #AA",
                "A## #AA",
                "### ##",
                "##-###",
                "#### AA",
                "#####-###",
                "A-####",
            )
        )
        return "".join(str(rng.randint(0, 9)) if c == "#" else rng.choice("ABCEGHJKLMNPRSTVW") if c == "A" else c for c in shape)

    def address(self, gap: str) -> str:
        """A street and, mostly, what follows it on an envelope, in one of many orders; `gap` stands between the lines."""
        rng = self._rng
        street, city, region, code = self.street(), self.city(), rng.choice(words.STATES), self.zip()
        state = rng.choice(words.STATE_CODES)
        country = rng.choice(words.COUNTRIES)
        district = self._towns.coin(rng)
        lines: list[str] = rng.choice(
            (
                [street],
                [street, city],
                [street, city, country],
                [street, f"{city}, {state} {code}"],
                [street, f"{city}, {state} {code}"],
                [street, f"{city} {state} {code}"],
                [street, f"{city}, {state}", country],
                [street, f"{city}, {state}", f"{country} {code}"],
                [street, f"{code} {city}"],
                [street, f"{code} {city}", country],
                [street, f"{code} {city.upper()}", country.upper()],
                [street, f"{city} {code}", country],
                [street, district, city, code],
                [street, f"{district}, {city} {code}", country],
                [street, city, region, code],
                [street, city, f"{region} {code}", country],
                [street, f"Apt. {rng.randint(1, 999)}", city, f", {state}", f" {country} {code}"],
                [street, f"Suite {rng.randint(1, 999)}", city, f"{state} {code}"],
                [f"{code} {city}", street],
                [street, f", {state} {code}", country],
                [street, city, country, code],
                [street, district, country, code],
                [street, city, state, code, country],
                [street, f"{city} - {code}"],
                [self.road(), city, code],
                [f"{self.road()},", f"{city} {code}", country],
                [city, street],
                [street, f"Apt. {rng.randint(1, 999)}", city, country, code],
                [street, city, f"{country} {rng.randint(1, 9999)}"],
            )
        )
        if gap == ", " and rng.random() < 0.15:
            gap = " "
        return gap.join(lines)

    def org(self) -> str:
        """A firm, a body or an institution."""
        rng = self._rng
        draw = rng.random()
        tail = rng.choice(words.ORG_TAILS)
        if draw < 0.2:
            return rng.choice(words.ORG_KNOWN)
        if draw < 0.42:
            return rng.choice(self._pools.firms)
        if draw < 0.55:
            return f"{rng.choice(words.ORG_WORDS)} {tail}"
        if draw < 0.67:
            return f"{rng.choice(words.ORG_WORDS)} {rng.choice(words.ORG_WORDS)}{rng.choice(('', f' {tail}'))}"
        if draw < 0.75:
            return f"{self.last()} {tail}"
        if draw < 0.8:
            return f"{self.last()} {rng.choice(('&', 'and'))} {self.last()}"
        if draw < 0.86:
            return f"{self.city()} {tail}"
        if draw < 0.89:
            return f"{rng.choice(('University', 'Bank', 'Institute', 'City', 'Museum', 'Church', 'Ministry'))} of {self.city()}"
        if draw < 0.93:
            return "".join(rng.choice("ABCDEFGHIKLMNOPRSTUW") for _ in range(rng.randint(3, 5)))
        if draw < 0.97:
            return f"{rng.choice(words.ORG_WORDS)}{rng.choice(words.ORG_WORDS).lower()}{rng.choice(('', '', f' {tail}'))}"
        return f"{self._last.coin(rng)}{rng.choice(('', f' {tail}'))}"

    # what carries no label

    def drug(self) -> str:
        """An invented medicine."""
        return (
            self._rng.choice(words.DRUG_HEADS)
            + self._rng.choice(("", "", "lo", "ri", "ta", "ni", "xa"))
            + self._rng.choice(words.DRUG_TAILS)
        )

    def _plain_slots(self) -> dict[str, Callable[[], str]]:
        rng = self._rng

        def of(entries: tuple[str, ...]) -> Callable[[], str]:
            return lambda: rng.choice(entries)

        ordinary = plain.words()

        def mixed(slot: str, entries: tuple[str, ...]) -> Callable[[], str]:
            """Mostly of the short list, else of all the words of that kind."""
            return lambda: rng.choice(entries if rng.random() < 0.6 else ordinary[slot])

        def cap(make: Callable[[], str]) -> Callable[[], str]:
            def made() -> str:
                value = make()
                return value[:1].upper() + value[1:]

            return made

        def digits(shape: str) -> str:
            return "".join(str(rng.randint(0, 9)) if letter == "#" else letter for letter in shape)

        def date() -> str:
            day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1930, 2029)
            word = rng.choice(words.MONTHS)
            return rng.choice(
                (f"{word} {day}, {year}", f"{day} {word} {year}", f"{year}-{month:02}-{day:02}", f"{month}/{day}/{year}", f"{word} {year}")
            )

        def email() -> str:
            who = (
                rng.choice((self.first(), self.last(), f"{self.first()}.{self.last()}", f"{self.first()[0]}{self.last()}"))
                .lower()
                .replace(" ", "")
            )
            who += str(rng.choice(("", rng.randint(1, 99))))
            return f"{who}@{self._last.coin(rng).lower()}.{rng.choice(('com', 'net', 'org', 'de', 'co.uk'))}"

        phones = (
            "###-###-####",
            "(###) ###-####",
            "+## ### ######",
            "0### ### ###",
            "+1 ### ### ####",
            "### ## ## ##",
            "##########",
            "0## #### ####",
        )
        names = {
            "common": mixed("common", words.COMMON), "verb": mixed("verb", words.VERBS), "adj": mixed("adj", words.ADJECTIVES),
            "adv": mixed("adv", words.ADVERBS),
            "gerund": mixed("gerund", words.GERUNDS),
            "job": of(words.JOBS), "kin": of(words.KIN), "drug": self.drug, "diagnosis": of(words.DIAGNOSES), "body": of(words.BODY),
            "exam": of(words.EXAMS), "law_thing": of(words.LAW_THINGS),
        }  # fmt: skip
        made: dict[str, Callable[[], str]] = {**names, **{f"{slot}_cap": cap(make) for slot, make in names.items()}}
        made |= {
            "Common": cap(names["common"]), "Adj": cap(names["adj"]), "Verb": cap(names["verb"]),
            "Verb_plain": of(("see", "help", "call", "pay", "follow", "use", "keep", "monitor", "return", "provide", "check", "wait")),
            "title": of(words.TITLES), "title_dr": of(("Dr.", "Dr", "Doctor", "Dr.")), "title_lower": of(("sir", "madam", "ma'am",
            "dear", "buddy", "everyone")),
            "relation": of(words.RELATIONS), "him": of(("him", "her")), "his": of(("his", "her")), "his_cap": of(("His", "Her", "My")),
            "fill": of(words.FILLERS), "speaker": of(words.SPEAKERS), "capital": of(words.CAPITALS), "symptom": of(words.SYMPTOMS),
            "heading": of(words.HEADINGS), "upper_heading": lambda: rng.choice(words.HEADINGS).upper(), "nation": of(words.NATIONS),
            "law_name": of(words.LAW_NAMES), "law_act": of(words.LAW_ACTS), "letter": lambda: rng.choice("ABCDEFGHIJKLMNPZabcdei"),
            "section": lambda: rng.choice((digits("10##.#"), digits("§ 10##.#"), digits("10##.##(a)"), "(a)(1)", digits("## CFR 10##"))),
            "acronym": lambda: "".join(rng.choice(words.ACRONYM_LETTERS) for _ in range(rng.randint(2, 5))),
            "spelled": lambda: rng.choice((" ", "-", ", ", ". ")).join(rng.choice(words.ACRONYM_LETTERS) for _ in range(rng.randint(2, 6))),
            "month": of(words.MONTHS), "day": of(words.DAYS), "date": date, "year": lambda: str(rng.randint(1930, 2029)),
            "time": lambda: rng.choice((digits("1#:3#"), f"{rng.randint(1, 12)} p.m.", "noon")), "age": lambda: str(rng.randint(18, 99)),
            "small": lambda: str(rng.randint(1, 40)), "amount": lambda: rng.choice("$€£") + digits(rng.choice(("##", "#,###",
            "###.##", "##,###"))),
            "percent": lambda: f"{rng.randint(1, 99)}{rng.choice((' percent', '%'))}",
            "dose": lambda: f"{rng.choice((5, 10, 20, 40, 81, 250, 500))} mg daily",
            "number": lambda: rng.choice((digits("########"), digits("##-####"),
            f"{rng.choice('ABCDMX')}{digits('#######')}", digits("###### ####"))),
            "phone": lambda: digits(rng.choice(phones)), "email": email, "url": lambda: f"www.{self._last.coin(rng).lower()}.com",
            "zip": self.zip,
            "ip": lambda: ".".join(str(rng.randint(1, 254)) for _ in range(4)), "ssn": lambda: digits("###-##-####"),
            "card": lambda: digits("4### #### #### ####"),
            "iban": lambda: digits("DE## #### #### #### #### ##"),
        }  # fmt: skip
        return made
