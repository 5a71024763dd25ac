"""Countries and territories by name: a closed list needs no model. ISO 3166-1's English names, long and short, and what is said besides.

Names that are as often a person, a word or a part of a brand (Chad, Georgia, Jersey, Jordan, Turkey, Guinea), and "US", which is
ultrasound, are left to the recogniser; in lower case only those of two words or of six letters and more count. Not covered: demonyms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import regex  # type: ignore[import-untyped]

from pipelines.masking.recogniser.words import COUNTRIES

_ALSO_TEXT: Final = """
American Samoa|Anguilla|Antarctica|Antigua and Barbuda|Aruba|Bermuda|Bolivarian Republic of Venezuela|Bosnia & Herzegovina|Bouvet
Island|British Indian Ocean Territory|British Virgin Islands|Brunei Darussalam|Burma|Cabo Verde|Cayman Islands|Central African
Republic|Christmas Island|Cocos (Keeling) Islands|Cook Islands|Côte d'Ivoire|Cote d'Ivoire|Curaçao|Czechia|Democratic Republic of the
Congo|Dominican Republic|East Timor|Equatorial Guinea|Falkland Islands|Falkland Islands (Malvinas)|French Guiana|French Polynesia|French
Southern Territories|Great Britain|Guadeloupe|Guernsey|Guinea-Bissau|Heard Island and McDonald Islands|Holy See|Holy See (Vatican City
State)|Isle of Man|Islamic Republic of Iran|Kyrgyz Republic|Lao People's Democratic Republic|Libyan Arab Jamahiriya|Macao|Macau|Marshall
Islands|Martinique|Mayotte|Micronesia|Montserrat|Netherlands Antilles|New Caledonia|Niue|Norfolk Island|Northern Mariana
Islands|Palestinian Territory|Pitcairn Islands|Republic of Korea|Republic of Moldova|Réunion|Russian Federation|Saint Barthélemy|Saint
Helena|Saint Kitts and Nevis|Saint Lucia|Saint Martin|Saint Pierre and Miquelon|Saint Vincent and the Grenadines|Sao Tome and
Principe|Sint Maarten|Slovak Republic|Slovakia (Slovak Republic)|South Georgia and the South Sandwich Islands|South Sudan|Svalbard and
Jan Mayen|Svalbard & Jan Mayen Islands|Swaziland|Syrian Arab Republic|Tokelau|Trinidad and Tobago|Turks and Caicos
Islands|Türkiye|United Arab Emirates|United Kingdom|United Republic of Tanzania|United States|United States Minor Outlying
Islands|United States of America|US Virgin Islands|Vatican City|Viet Nam|Wallis and Futuna|Western Sahara
"""
_WORD: Final = regex.compile(r"(?<![\w-])\p{L}+")
_LEFT: Final = frozenset({"Chad", "Georgia", "Jersey", "Jordan", "Turkey", "Guinea", "US", "U.S.", "U.K."})
_SAID: Final = ({" ".join(name.split()) for name in _ALSO_TEXT.strip().split("|")} | set(COUNTRIES)) - _LEFT
_SMALL_LEAST: Final = 6
_SMALL: Final = {name.lower() for name in _SAID if " " in name or len(name) >= _SMALL_LEAST}
_NAMES: Final = sorted(_SAID | {name.upper() for name in _SAID} | _SMALL)
_FIRST: Final = frozenset(_WORD.match(name).group() for name in _NAMES)
_COUNTRY: Final = regex.compile(r"\L<names>(?![\w-])", names=_NAMES)


def find(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every country named."""
    for word in _WORD.finditer(text):
        # A few hundred names at every place of a text cost more than the model's share of the time; a first word is one look-up.
        if word.group() in _FIRST and (match := _COUNTRY.match(text, word.start())):
            yield match.span()
