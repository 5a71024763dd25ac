"""Identifiers that have a shape: dates, ages over 89, ZIP codes, addresses, phones, e-mail, numbers that name someone.

Each pattern finds the value alone and leaves its label standing, by looking behind. Patterns are case-sensitive unless they say `(?i:`.
The letters follow 45 CFR 164.514(b)(2)(i). What has no shape of its own (biometric data, photographs) is not text.
"""

from __future__ import annotations

from typing import Final

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?"
    r"|JAN(?:UARY)?|FEB(?:RUARY)?|MAR(?:CH)?|APR(?:IL)?|MAY|JUNE?|JULY?|AUG(?:UST)?|SEPT?(?:EMBER)?|OCT(?:OBER)?|NOV(?:EMBER)?|DEC(?:EMBER)?"
    r"|january|february|april|june|july|august|september|october|november|december)\b(?:\.(?=\s*\d))?"
)
_DAY = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?"
_YEAR = r"(?:1[89]|20)\d\d"
_NUMERIC = rf"(?:{_YEAR}[-/.]\d{{1,2}}[-/.]\d{{1,2}}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}})?Z?)?|\d{{1,2}}([-/.])\d{{1,2}}\1(?:\d{{4}}|\d{{2}}))"
_DATE = (
    rf"(?:{_MONTH}\s+{_DAY}(?:\s*,?\s*{_YEAR})?|{_DAY}(?:\s+of)?\s+{_MONTH}(?:\s*,?\s*{_YEAR})?|{_MONTH},?\s+(?:of\s+)?{_YEAR}|{_NUMERIC})"
)

_STATE_CODES_TEXT = """
AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT
VA WA WV WI WY DC PR
"""
STATE_CODES: Final = frozenset(_STATE_CODES_TEXT.split())
_STATE = (
    r"(?:(?:"
    + "|".join(_STATE_CODES_TEXT.split())
    + r")\b|Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois"
    r"|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada"
    r"|New (?:Hampshire|Jersey|Mexico|York)|(?:North|South) (?:Carolina|Dakota)|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|Tennessee"
    r"|Texas|Utah|Vermont|(?:West )?Virginia|Washington|Wisconsin|Wyoming)"
)
_CAP = r"\p{Lu}[\p{L}'’.-]*"
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace|Way|Parkway|Pkwy|Circle|Cir|Highway|Hwy|Square|Sq"
    r"|Trail|Row|Close|Crescent|Walk|Alley|Loop)"
)
_UNIT = r"(?:\s*,?\s*(?:Apt|Apartment|Suite|Ste|Unit|Flat|Room|Floor|#)\.?\s*#?\w+)?"

_ID_LABEL = (
    r"\b(?:MRN|medical record|record|chart|account|acct|policy|member|subscriber|group|insurance|beneficiary|health plan|medicare"
    r"|medicaid|licen[cs]e"
    r"|plate|registration|NPI|DEA|certificate|VIN|vehicle|passport|device|serial|pacemaker|implant|case|file|patient|hospital|NHS|tax|employee"
    r"|routing|invoice|claim|badge|ID|SSN)\b"
)
_ID_WORDS = r"(?:\s*(?:\b(?:number|no|nr|id|identifier|serial|plate|card|code|is|was)\b\.?|#))*\s*[:#=]?\s*"

_AREAS = (
    "A[BL]|B[ABDHLNRSTX]?|C[ABFHMORTVW]|D[ADEGHLNTY]|E[CHNX]?|F[KY]|G[LUY]?|H[ADGPRSUX]|I[GMPV]|JE|K[ATWY]|L[ADELNSU]?|M[EKL]?|N[EGNPRW]?"
    "|O[LX]|P[AEHLOR]|R[GHM]|S[AEGKLMNOPRSTWY]?|T[ADFNQRSW]|UB|W[ACDFNRSV]?|YO|ZE"
)
_INWARD = r"\d(?!(?:ST|ND|RD|TH|HR|YR|WK|LB|QD|BD|TD|GT|PT|DL|DS)\b)[ABD-HJLNP-UW-Z]{2}"
UNITED_KINGDOM: Final = rf"(?i:(?=[A-Z]{{1,2}}\d)(?:{_AREAS})\d[A-Z\d]? ?{_INWARD})"
CANADIAN: Final = r"(?i:[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z][ -]?\d[ABCEGHJ-NPRSTV-Z]\d)"
EIRCODE_LOOSE: Final = r"(?i:(?:[AC-FHKNPRTV-Y]\d\d|D6W) ?[0-9AC-FHKNPRTV-Y]{4})"
EIRCODE: Final = r"(?i:(?!P53)(?=... ?[A-Z]{0,3}\d)(?=... ?\d{0,3}[A-Z])(?!... ?\d+(?:ST|ND|RD|TH|HR|YR|FT|YD|K|X)\b))" + EIRCODE_LOOSE
"""Codes with letters, whose sources `postcodes.py` names; the loose one only beside a label or a place. "B12 5mg", "L5 1st" are none."""

PATTERNS: Final[tuple[tuple[str, str, float], ...]] = (
    # (C) elements of dates except the year; (a birth date goes whole, since its year can tell an age over 89)
    (
        "BIRTH_DATE",
        rf"(?<=(?i:\b(?:DOB|D\.O\.B\.?|date of birth|birth ?date|birthday|born)\b(?:\s+(?:on|in|is|was))?\s*[:=]?\s*)){_DATE}",
        1.0,
    ),
    ("BIRTH_DATE", rf"(?<=(?i:\b(?:DOB|date of birth|birth ?date|born|year of birth)\b(?:\s+(?:on|in|is|was))?\s*[:=]?\s*)){_YEAR}\b", 1.0),
    ("DATE", rf"(?<![\w/.-]){_DATE}(?![\w/])", 0.9),
    ("DATE", rf"(?<=\b(?i:in|since|last|until|by|this|next|early|late|mid|from|through|during)[\s-]){_MONTH}(?!\s*\d)", 0.7),
    ("DATE", r"(?<=\b(?i:on|since|dated|seen)\s)(?:1[0-2]|0?[1-9])/(?:3[01]|[12]\d|0?[1-9])(?![\d/]|\s*(?:mmHg|pain|on exam))", 0.6),
    # ages over 89
    ("AGE", r"\b(?:9\d|1[0-4]\d)(?=[\s-]*(?i:years?|yrs?)[\s.-]*(?i:old|of age)|[\s-]?(?i:y/?o)\b|\s?[MF]\b(?!\d))", 1.0),
    ("AGE", r"(?<=\b(?i:aged?|age of|turned|turning)\s*[:=]?\s+)(?:9\d|1[0-4]\d)\b(?!\s*(?:%|mg|months?|days?|weeks?))", 0.9),
    ("AGE", r"\b(?:9\d|1[0-4]\d)(?:st|nd|rd|th)(?=\s+birthday)", 1.0),
    (
        "AGE",
        r"\b(?i:ninety(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?|(?:one|a) hundred(?:(?: and)? \w+)?)"
        r"(?=[\s-]+(?i:years?[\s-]+old))",
        1.0,
    ),
    # (B) geography below the state
    ("ZIP", rf"(?<=\b{_STATE}[,.]?\s+)\d{{5}}(?:-\d{{4}})?\b", 1.0),
    ("ZIP", r"(?<![\d-])\d{5}-\d{4}(?![\d-])", 0.6),
    ("ZIP", r"(?<![\w-])(?<!\bF\.?R\.? )\d{5}-\d{3}(?![\w-])", 0.6),
    ("ZIP", rf"(?=\d)(?<=,\s?(?!(?:in|or|me|hi|ok|oh|pa|ma|la|de)\b)(?i:{_STATE})\s)\d{{5}}(?![\w,.]*\d)", 0.8),
    (
        "ZIP",
        r"(?=\d)(?:(?<=\b(?:NSW|VIC|Vic|QLD|Qld|TAS|Tas|ACT)[,.]?\s)[2-7]\d{3}\b|(?<=\bWA )6\d{3}\b|(?<=\bSA )5\d{3}\b|(?<=\bNT )08\d\d\b)",
        0.8,
    ),
    # Someone lives there, or something is sent there, and the clause ends.
    (
        "ZIP",
        r"(?=\d)(?<=\b(?i:(?:live|lives|lived|living|located|resides?|stay(?:ing)?|based|shops?|stores?|branch(?:es)?|restaurants?|clinics?"
        r"|pharmac(?:y|ies)|doctors?|hotels?|houses?|homes?|apartments?|weather|forecast)(?: is| are)? (?:in|near|around|at|for|close to)"
        r"|(?:deliver(?:y|ies|s|ed)?|ship(?:s|ped|ping)?|mov(?:e|ed|ing)) to)\s)"
        r"(?:\d{5}|\d{2}-\d{3}|\d{3} \d{2})(?=\s*(?:$|[?!;)]|[.,](?!\d)))",
        0.7,
    ),
    # The United Kingdom's, Canada's and Ireland's have a shape of their own.
    ("ZIP", rf"(?<![\w-])(?=\p{{L}}{{1,2}}\d)(?:{UNITED_KINGDOM}|{CANADIAN}|{EIRCODE})(?![\w-])", 0.8),
    ("ZIP", r"(?<![\w-])(?:[A-Z]{1,2}\d[A-Z\d]? \d(?!MG|ML|KG|CM|MM|IU|CC|PM|AM)[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d)(?![\w-])", 0.8),
    (
        "ADDRESS",
        rf"\b\d{{1,6}}[A-Za-z]?\s+(?:{_CAP}\s+|\d+(?:st|nd|rd|th)\s+){{1,4}}{_STREET}\b\.?{_UNIT}(?:,\s*{_CAP}(?:\s{_CAP}){{0,2}}(?=,\s*{_STATE}))?",
        0.9,
    ),
    ("ADDRESS", r"\b(?i:P\.?\s?O\.?\s?Box)\s+\d+\b", 0.9),
    # Without a ZIP code after it, a state's two letters may be a word: "Right, OK".
    ("PLACE", rf"\b{_CAP}(?: {_CAP}){{0,2}}(?=,[ ]?{_STATE}[ ]+\d{{5}})", 0.8),
    ("PLACE", rf"\b{_CAP}(?: {_CAP}){{0,2}}(?=,[ ](?!(?:OK|OH|HI|IN|OR|ME|MA|PA|ID|MD|DE|LA|AL)\b){_STATE}\b)", 0.7),
    (
        "PLACE",
        rf"(?<=\b(?i:lives? (?:alone )?in|living in|residing in|resides in|resident of|moved (?:here )?(?:to|from)"
        rf"|is from|comes from)\s){_CAP}(?:\s{_CAP}){{0,2}}",
        0.8,
    ),
    # (D) (E) phone and fax
    (
        "PHONE",
        r"(?<![\w.+]|\d[/-])(?:\+?1[-.\s]?)?(?:\(\d{3}\)\s?|\d{3}[-.\s])\d{3}[-.\s]\d{4}(?:\s?(?:x|ext\.?|extension)\s?\d{1,6})?(?![\w-])",
        1.0,
    ),
    ("PHONE", r"(?<![\w.+(]|\d[/-])(?:\+|00)\d{1,3}[\s.-]?(?:\(?\d{1,5}\)?[\s.-]?){2,5}\d{2,4}(?![\w-])", 0.9),
    ("PHONE", r"(?<![\w.+]|\d[/-])\(?0\d{2,4}\)?[\s-]\d{3,4}[\s-]?\d{3,4}(?![\w-])", 0.8),
    ("PHONE", r"(?<![\w.+/$-])\d{3}-\d{4}(?![\w-])", 0.7),
    # (F) (N) (O) electronic addresses
    ("EMAIL", r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", 1.0),
    ("URL", r"\b(?i:https?://|ftp://|www\.)[^\s<>\"]+[\w/]", 1.0),
    ("URL", r"(?<![@\w.-])(?:[A-Za-z0-9-]+\.)+(?:com|org|net|edu|gov|info|biz|io|co\.uk|de|fr)\b(?:/[^\s<>\"]*[\w/])?", 0.8),
    ("IP", r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])", 0.9),
    ("IP", r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4})(?:(?::[0-9A-Fa-f]{1,4}){0,5})(?![\w:])", 0.8),
    ("ID", r"(?<![\w:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:])", 0.9),
    # (G) to (M), (R): numbers that name a person, an account, a vehicle, a device
    ("SSN", r"(?<![\w-])(?!000|666)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])", 1.0),
    ("SSN", r"(?<=\b(?i:SSN|social security(?: number| no\.?)?)\s*[:#=]?\s*)\d{9}\b", 1.0),
    (
        "ID",
        rf"(?=[A-Za-z0-9./-]{{0,40}}\d)(?<=(?i:{_ID_LABEL}{_ID_WORDS}))(?=[A-Za-z0-9./-]*\d[A-Za-z./-]*\d)[A-Za-z0-9][A-Za-z0-9./-]{{2,}}[A-Za-z0-9]\b",
        0.9,
    ),
    (
        "ID",
        r"(?<=\b(?i:plate|registration|licen[cs]e)\b(?:\s*(?:number|no|nr|plate|is)\b\.?)*\s*[:#]?\s*)[A-Z0-9]{2,4}[ -][A-Z0-9]{2,5}\b",
        0.8,
    ),
    ("ID", r"(?<![\w$.,/-])\d{6,}(?![\w.,/]*\d|\s*(?:units?|IU|mg|copies))", 0.6),
    ("ID", r"(?<![\w$-])(?=[A-Z0-9]*\d[A-Z0-9]*\d[A-Z0-9]*\d)(?=[A-Z0-9]*[A-Z])[A-Z0-9]{6,}(?![\w-])", 0.7),
    ("ID", r"(?<![\w$-])[A-Z]{1,5}-?\d{4,}(?:-[A-Z0-9]+)*(?![\w-])", 0.7),
)

_CASE_LABEL = (
    r"(?i:(?:civil|criminal|case|docket|cause|matter|index|appeal|petition|claim|file)\s*(?:number|no|nr|nos|#)\b\.?|\bcase|\bdocket)"
    r"\s*[:#]?\s*"
)

CASE_PATTERNS: Final[tuple[tuple[str, str, float], ...]] = (
    # A court's number: 3:21-cv-01234-ABC, 21-cv-1234, 2021 CV 01234.
    (
        "CASE",
        r"(?<![\w-])(?:\d{1,2}:)?(?:\d{2}|\d{4})[- ](?i:cv|cr|civ|crim|mc|md|bk|ap|cf|ca|dr|pr|jv|cp|ch)[- ]?\d{3,7}"
        r"(?:-[A-Z]{2,4}){0,3}(?![\w-])",
        1.0,
    ),
    ("CASE", rf"(?<=\b{_CASE_LABEL})(?=[\w./:-]*\d[\w./:-]*\d)[A-Za-z0-9][A-Za-z0-9./:-]+[A-Za-z0-9]\b", 0.9),
)
"""Numbers of court cases and claims, which name their parties to whoever looks them up."""

ACCOUNT_PATTERNS: Final[tuple[tuple[str, str, float], ...]] = (
    (
        "ACCOUNT",
        r"(?<=\b(?i:account|acct|a/c|loan|policy|customer|member|contract|agreement|invoice|routing|sort code|IBAN|reference)"
        r"(?:\s*(?:\b(?i:number|no|nr|id|code|is|ref)\b\.?|#))*\s*[:#=]?\s*)(?=[A-Za-z0-9./ -]*\d[A-Za-z./-]*\d)"
        r"[A-Z0-9][A-Z0-9./-]{2,}[A-Z0-9]\b",
        0.9,
    ),
    ("ACCOUNT", r"(?<![\w$.,/-])\d{9,}(?![\w.,/]*\d|\s*(?:units?|IU|mg|copies))", 0.6),
    ("ACCOUNT", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", 0.9),
)

PUBLIC_PATTERNS: Final[tuple[tuple[str, str, float], ...]] = (
    # Contact details of offices are part of the law: government addresses and toll-free numbers stay.
    ("EMAIL", r"[A-Za-z0-9._%+'-]+@(?![A-Za-z0-9.-]*\.(?:gov|mil)\b)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}", 1.0),
    (
        "PHONE",
        r"(?<![\w.+/$-])(?!(?:\+?1[-.\s]?)?\(?8(?:00|33|44|55|66|77|88)\b)(?:\+?1[-.\s]?)?(?:\(\d{3}\)\s?|\d{3}[-.\s])\d{3}[-.\s]\d{4}(?![\w-])",
        1.0,
    ),
    ("SSN", r"(?<![\w-])(?!000|666)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])", 1.0),
)

_LOW_POPULATION_TEXT = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
LOW_POPULATION_ZIP3: Final = frozenset(_LOW_POPULATION_TEXT.split())
"""ZIP3 areas of 20,000 people or fewer, as HHS's guidance lists them from the 2000 census."""
