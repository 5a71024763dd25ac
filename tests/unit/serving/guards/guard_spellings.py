"""Identifiers as people, and models, may spell them. All of them are examples that belong to nobody."""

from __future__ import annotations

SPELLINGS = {
    "e-mail": (
        "john.smith@example.com", "JOHN.SMITH@EXAMPLE.COM", "john.smith @ example . com", "john dot smith at example dot com",
        "john.smith [at] example.com", "john.smith(at)example(dot)com",
        "j o h n @ e x a m p l e . c o m", "ｊｏｈｎ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        "john\u200b.smith@exam\u200dple.com", "mailto:john.smith@example.com", "jöhn@example.com", "am9obi5zbWl0aEBleGFtcGxlLmNvbQ==",
    ),
    "SSN": (
        "123-45-6789", "123 45 6789", "123.45.6789", "123–45–6789", "1 2 3 - 4 5 - 6 7 8 9",
        "SSN 123456789", "social security number 123456789",
        "one two three four five six seven eight nine",
        "one-two-three four-five six-seven-eight-nine", "１２３-４５-６７８９", "123\u200b-45-\u200b6789", "123 - 45 - 6789",
        "123/45/6789", "١٢٣-٤٥-٦٧٨٩",
    ),
    "phone": (
        "(512) 555-0142", "512-555-0142", "512.555.0142", "512 555 0142", "+1 512 555 0142",
        "+15125550142", "5 1 2 5 5 5 0 1 4 2", "+44 20 7946 0958",
        "five one two five five five oh one four two", "512–555–0142", "512/555-0142", "call 555-0142",
    ),
    "card": (
        "4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "4111.1111.1111.1111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "3782 822463 10005",
        "5555 5555 5555 4444", "4111–1111–1111–1111", "４１１１ １１１１ １１１１ １１１１", "4111_1111_1111_1111",
        "card: 4111/1111/1111/1111",
    ),
    "IBAN": (
        "DE89 3704 0044 0532 0130 00", "DE89370400440532013000", "de89-3704-0044-0532-0130-00",
        "D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0",
        "GB29 NWBK 6016 1331 9268 19", "gb29nwbk60161331926819", "FR14 2004 1010 0505 0001 3M02 606", "DE89.3704.0044.0532.0130.00",
    ),
}  # fmt: skip
PLANTED = [(kind, written) for kind, many in SPELLINGS.items() for written in many]
SECRET = "123-456-789"
