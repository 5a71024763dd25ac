"""Clinical notes and dialogues about people who do not exist, with planted identifiers of every kind that masking must remove.

Each note is about one complaint that no other note has, and each sentence with a fact names it: questions can tell notes apart
without naming a person. Half of the notes carry goldens; the others are left for training.
"""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path

from pipelines.writing import write_text

NOTES_DATE, MORE_DATE = "2024-01-15", "2024-02-15"
FOREVER = "9999-12-31"
_DICTATED = 62
"""The note that goes as a text file: nothing names its subject but the words around the name."""

_COMPLAINTS = """
knee swelling|ankle sprain|shoulder stiffness|wrist numbness|elbow tenderness|hip soreness|heel ache|jaw clicking|calf cramps
|thumb weakness|scalp itching|ear ringing|nasal congestion|throat dryness|night cough|chest tightness|palpitations|ankle puffiness
|leg heaviness|morning dizziness|blurred vision|eyelid twitching|dry eyes|tooth sensitivity|tongue burning|hoarse voice
|swallowing trouble|heartburn|stomach bloating|loose stools|constipation|rectal itching|flank discomfort|frequent urination
|weak stream|bladder urgency|skin flaking|hand eczema|foot blisters|nail ridging|facial flushing|night sweats|hair thinning
|cold fingers|restless legs|poor sleep|daytime drowsiness|low mood|racing thoughts|memory lapses|hand tremor|facial tingling
|cluster headaches|neck stiffness|upper back spasm|tailbone pain|rib bruising|groin strain|hamstring tightness|arch pain
|bunion redness|shin soreness|finger locking|forearm rash|ear fullness|sinus pressure|lip cracking|gum bleeding
"""
_DRUGS = (
    ("naproxen", 250), ("lisinopril", 10), ("metformin", 500), ("sertraline", 50),
    ("omeprazole", 20), ("amlodipine", 5), ("gabapentin", 300), ("cetirizine", 10),
    ("loratadine", 10), ("prednisone", 15), ("doxycycline", 100), ("amitriptyline", 25),
    ("tamsulosin", 4), ("propranolol", 40), ("furosemide", 20), ("ibuprofen", 400),
    ("fluoxetine", 20), ("montelukast", 10), ("famotidine", 40), ("meloxicam", 15),
    ("baclofen", 10), ("ropinirole", 2), ("losartan", 50), ("atenolol", 25),
)  # fmt: skip
_ALLERGIES = ("penicillin", "latex", "shellfish", "codeine", "sulfa drugs", "bee venom", "iodine", "adhesive tape", "peanuts", "aspirin")
_FORMS = ("once daily", "twice daily", "at bedtime", "every 8 hours")
_EXAMS = (
    "Heart sounds are regular and the lungs are clear.",
    "The abdomen is soft and not tender.",
    "Gait is steady and strength is full.",
    "The skin is warm and dry.",
    "There is no fever and no weight loss.",
)
_PLANS = (
    "Rest and plenty of fluids were advised.",
    "Stretching twice a day was shown and practiced.",
    "A written plan was handed over.",
    "The risks and benefits were explained.",
    "Blood work was drawn and is pending.",
)
_GIVEN = (
    "Ysolde",
    "Brannick",
    "Odalys",
    "Tavish",
    "Mirelle",
    "Corwin",
    "Zephyra",
    "Hadrian",
    "Isaura",
    "Leopold",
    "Ottoline",
    "Rainier",
    "Thessaly",
    "Bertrand",
)
_FIRST = ("Quill", "Thorn", "Marl", "Vesp", "Ostr", "Hask", "Dunw", "Gral", "Pell", "Wick", "Ambr", "Cald", "Fenn", "Rusk", "Sorr", "Tarn")
_LAST = ("ington", "ovsky", "aberg", "elmore", "adottir", "ecque", "wright", "ulescu", "ander", "inelli", "hollow", "enko")
_STREETS = ("Alder Creek Road", "Juniper Lane", "Old Foundry Street", "Wrenfield Avenue", "Saltmarsh Drive", "Harrow Court")
_TOWNS = (
    ("Brackenford", "TX", "787"),
    ("Eastmere", "OH", "441"),
    ("Pinecliff", "CO", "803"),
    ("Lowhaven", "WY", "821"),
    ("Marrowby", "VT", "059"),
)


@dataclass(frozen=True, slots=True)
class Note:
    """One note: what is delivered, which strings in it must never be seen again, and what can be asked about it."""

    id: str
    patient: str
    title: str
    text: str
    planted: tuple[str, ...]
    facts: tuple[tuple[str, str, str], ...]
    """(question, answer, the sentence that holds it)"""


def notes(seed: int) -> tuple[list[Note], list[Note]]:
    """The notes of the first and of the second delivery."""
    rng = random.Random(seed)  # noqa: S311
    complaints = [" ".join(complaint.split()) for complaint in _COMPLAINTS.split("|")]
    rng.shuffle(complaints)
    surnames = [first + last for first in _FIRST for last in _LAST]
    rng.shuffle(surnames)
    made = [_note(rng, number, complaint, surnames) for number, complaint in enumerate(complaints)]
    return made[: _DICTATED + 1], made[_DICTATED + 1 :]


def _note(rng: random.Random, number: int, complaint: str, surnames: list[str]) -> Note:
    dictated = number == _DICTATED
    family, doctor, kin = surnames[number], surnames[-1 - number], surnames[80 + number]
    given, kin_given = rng.choice(_GIVEN), rng.choice(_GIVEN)
    patient = f"{given} {family}"
    mrn = f"{rng.randint(10_000_000, 99_999_999)}"
    phone = f"({rng.randint(201, 989)}) 555-{rng.randint(100, 199):04d}"
    age = rng.randint(90, 99) if number % 9 == 0 else rng.randint(21, 88)
    born = f"{rng.randint(1, 12):02d}/{rng.randint(1, 28):02d}/{2023 - age}"
    visit = f"{rng.choice(('January', 'March', 'August', 'October'))} {rng.randint(2, 28)}, 2023"
    town, state, zip3 = rng.choice(_TOWNS)
    street = f"{rng.randint(11, 989)} {rng.choice(_STREETS)}"
    mail = f"{given.lower()}.{family.lower()}@example.org"
    account = f"AC-{rng.randint(100_000, 999_999)}"

    opening = [
        f"{patient} (MRN {mrn}), date of birth {born}, a {age}-year-old, was seen on {visit} by Dr. {doctor}.",
        f"Patient name: {patient}. MRN: {mrn}. DOB: {born}. Seen {visit} by Dr. {doctor}, age {age}.",
    ][1 if dictated else number // 2 % 2]
    if age > 89:
        opening = f"{patient} (MRN {mrn}), date of birth {born}, a {age}-year-old, was seen on {visit} by Dr. {doctor}."
    zip_code = f"{state} {zip3}{rng.randint(10, 99)}"
    address = f"Lives at {street}, {town}, {zip_code}."
    contact = [
        f"Phone {phone}, e-mail {mail}. {address}",
        f"{family}'s son {kin_given} {kin} can be reached at {phone}. {address}",
        f"Account number {account}. Mrs {kin} drove {given} here. {address}",
    ][0 if dictated else number % 3]
    planted = [patient, family, doctor, mrn, born, visit, street, town, zip_code]
    planted += [[phone, mail], [phone, kin, f"{kin_given} {kin}"], [account, kin]][0 if dictated else number % 3]
    if age > 89:
        planted.append(f"{age}-year-old")

    facts = _facts(rng, number, complaint)
    filler = [rng.choice(_EXAMS), rng.choice(_PLANS)]
    closing = f"Signed: {doctor}, M.D."
    text = " ".join([opening, facts[0][2], facts[1][2], filler[0], facts[2][2], facts[3][2], filler[1], facts[4][2], contact, closing])
    return Note(f"{family.upper()}-{mrn}", patient, "Consultation note", text, tuple(planted), tuple(facts))


def _facts(rng: random.Random, number: int, complaint: str) -> list[tuple[str, str, str]]:
    drug, dose = _DRUGS[number % len(_DRUGS)]
    dose *= rng.choice((1, 2))
    how = rng.choice(_FORMS)
    lasted = f"{rng.randint(2, 11)} {rng.choice(('days', 'weeks', 'months'))}"
    pressure = f"{rng.randint(104, 168)}/{rng.randint(58, 98)}"
    again = f"{rng.randint(2, 12)} {rng.choice(('days', 'weeks', 'months'))}"
    allergy = rng.choice(_ALLERGIES)
    # The first wording of each question is the one that training uses.
    other = number % 4 >= 2
    started = (
        f"For the {complaint}, {drug} {dose} mg {how} was started.",
        f"{drug.capitalize()} {dose} mg {how} was started for the {complaint}.",
    )[number // 3 % 2]
    return [
        (
            (f"What is the duration of the {complaint}?", f"For how long did the {complaint} go on?")[other],
            lasted,
            f"The duration of the {complaint} is {lasted}.",
        ),
        (
            (f"What dose of {drug} was started for the {complaint}?", f"How much {drug} was prescribed against the {complaint}?")[other],
            f"{dose} mg",
            started,
        ),
        (
            (f"What was the blood pressure at the visit for the {complaint}?", f"Which blood pressure reading goes with the {complaint}?")[
                other
            ],
            pressure,
            f"At the visit for the {complaint}, blood pressure was {pressure}.",
        ),
        (
            (f"When is the follow-up for the {complaint}?", f"After what time is the {complaint} looked at again?")[other],
            again,
            f"Follow-up for the {complaint} is in {again}.",
        ),
        (
            (f"Which allergy was noted with the {complaint}?", f"What is the person with the {complaint} allergic to?")[other],
            allergy,
            f"The allergy noted with the {complaint} is {allergy}.",
        ),
    ]


def goldens(seed: int) -> list[dict[str, str]]:
    """Questions by the sentence that answers them: a note's key is a random surrogate, so that `cites` is empty."""
    first, second = notes(seed)
    rows: list[dict[str, str]] = []
    for delivered, date in ((first, NOTES_DATE), (second, MORE_DATE)):
        for number, note in enumerate(delivered):
            if number % 2 == 0 and (date == NOTES_DATE or number < 4):
                question, answer, quote = note.facts[(number // 2) % len(note.facts)]
                rows.append(
                    {
                        "id": f"clinical-{len(rows) + 1:03d}",
                        "question": question,
                        "answer": answer,
                        "cites": "",
                        "quote": quote,
                        "valid_from": date,
                        "valid_to": FOREVER,
                        "author": "pipelines.samples",
                        "reviewer": "steward",
                    }
                )
    return rows


def planted(seed: int) -> list[str]:
    """Every raw string that must not be found past masking, sorted."""
    first, second = notes(seed)
    # The dictation is a text file: its id is delivered nowhere.
    ids = {note.id for note in (*first, *second)} - {first[_DICTATED].id}
    return sorted(ids | {string for note in (*first, *second) for string in note.planted})


def write(out: Path, seed: int) -> None:
    """Two folders below `out`: notes as CSV, dialogues as JSON and one text file; then five more notes."""
    first, second = notes(seed)
    _write(out / "01-notes" / "notes.csv", _csv(first[:52]))
    _write(
        out / "01-notes" / "dialogues.json",
        json.dumps([_dialogue(note) for note in first[52:_DICTATED]], indent=1, ensure_ascii=False) + "\n",
    )
    _write(out / "01-notes" / "dictation-1.txt", f"{first[_DICTATED].text}\n")
    _write(out / "02-notes" / "notes.csv", _csv(second))


def _csv(rows: list[Note]) -> str:
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(("note_id", "patient", "title", "text"))
    table.writerows((note.id, note.patient, note.title, note.text) for note in rows)
    return buffer.getvalue()


def _dialogue(note: Note) -> dict[str, object]:
    """The same facts as turns; whoever dictates says them aloud."""
    turns = [{"speaker": "Doctor", "text": f"Good morning {note.patient.split()[0]}, I will read out my notes. {note.text}"}]
    turns.append({"speaker": "Patient", "text": "Yes, that is right. Thank you."})
    return {"note_id": note.id, "patient": note.patient, "title": "Dialogue", "text": turns}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
