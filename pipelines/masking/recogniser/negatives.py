"""Sentences that name nobody and look as if they did: medicines, diagnoses, headings, talk, law, redactions. Written like `templates`."""

from __future__ import annotations

from typing import Final

from pipelines.masking.recogniser.templates import lines

NEGATIVE: Final = lines("""
{heading}: {symptom}.
{heading}|{drug_cap} {dose}|{drug_cap} {dose}
{heading}: {diagnosis}, {diagnosis}, and {diagnosis}.
{upper_heading}: {exam} was {adj}. {diagnosis_cap} is stable.
{drug_cap}, {drug}, and {drug} as needed.
{drug_cap} {dose} for {diagnosis}.
Takes {drug_cap} and {drug_cap} for {diagnosis}.
Allergic to {drug_cap}, {drug_cap} and {capital}.
The patient was started on {drug_cap} {dose} after {exam}.
{exam_cap} showed no {diagnosis}.
{exam_cap} of the {body} on {date}.
History of {diagnosis}, {diagnosis} and {diagnosis}.
Positive {exam}, negative {exam}.
The {age}-year-old patient has {symptom} in the {body}.
{body_cap} pain, {symptom}, no {symptom}.
Status post {exam}, doing well.
Denies {symptom}, {symptom}. {drug_cap} helps.
The {body} was prepped and draped. A {exam} was placed.
{speaker}: {fill}. Do you have {symptom}?|{speaker}: {fill}, I do.
{speaker}: {fill}, {fill}.|{speaker}: {fill}!
{speaker}: {fill}, so how long have you had {symptom}?|{speaker}: Since {day}.|{speaker}: {fill}.
{speaker}: Any {diagnosis} or {diagnosis}?|{speaker}: {fill}. {capital}?
{speaker}: Are you taking {drug_cap}?|{speaker}: {fill}, {drug}, {dose}.
{speaker}: What about {capital}? {fill}.
{speaker}: {fill}. Your {exam} came back.|{speaker}: {fill}. Is it {diagnosis}?
{speaker}: It's called {drug_cap}. {spelled}.
{speaker}: {spelled}.|{speaker}: {fill}.
{speaker}: My {kin} has {diagnosis}.|{speaker}: Your {kin}?|{speaker}: {fill}, and my {kin} too.
{speaker}: {fill}. It's {spelled} for {diagnosis}.
{speaker}: Do you drink or smoke?|{speaker}: {fill}. {gerund_cap} and {gerund} only.
{speaker}: Are you {nation}?|{speaker}: {fill}, I speak {nation}.
{speaker}: When is your birthday?|{speaker}: {month} {small}.
Then I took {capital} and {capital}, and {capital} helped.
We had {capital} at {capital} time.
{fill}, {fill}, {fill}.
{fill}! {fill}. {gerund_cap} is {adj}.
{fill}. {adj_cap}. {fill}.
{fill} {fill}, {adv} the {common} is {adj}.
{fill}, doctor. Thank you, doctor.
{fill}, {title_lower}. The {common} is {adj}.
{acronym} and {acronym} were checked, {acronym} is {adj}.
{acronym}: {small}, {acronym} {small}.{small}, {acronym}-{small}
He saw the {job} about {symptom}. The {job} gave him {drug}.
{his_cap} {kin} had {diagnosis}, {his} {kin} has {diagnosis}.
{month} was {adj}. On {day} the {common} broke.
{day} and {day} are {adj}.
Born on {date}; seen on {date}.
The {nation} {common} and the {nation} {common} are {adj}.
{nation} is hard. {nation} food is {adj}.
I am {adj}. I am {gerund}.
My {common} is {adj}.
My {common} number is {number}.
Please block my card {card}.
Can you tell me the balance of account {number}?
Do I need a {common} for the {common}?
The {common} costs {amount}, that is {percent} more.
How much is a {common}?
Where is my {common}? I ordered it on {date}.
Why is the {common} so {adj}?
{common_cap}, {common} and {common}
{common_cap}: {adj}|{common_cap}: {adj}
{common_cap} {Common}
The {Adj} {Common}
The {Common} of the {Common}
How to {Verb} a {Common}: a {Adj} {Common} for {Common}s
{common_cap} {verb} the {common} {adv}.
Nobody {verb} the {job}.
The {job} and the {job} {verb} each other.
Only the {job} {verb} the {common} when the {common} was {adj}.
{gerund_cap} with the {job} is {adj}.
{adj_cap} {common}s are never {adj}.
{adv_cap}, the {common} was {adj}.
Call {phone} or write to {email}.
visit {url} for a {common}
From {ip} at {time}
{law_name} {section}. {Common} of {common}.
{law_name} {section}({letter})({small}) requires each {law_thing} to send a {common}.
{law_name} {letter} to {law_name} {small}, {law_act}.
The {law_thing} shall not disclose {common}s to a {law_thing} under {law_name} {section}.
{law_thing_cap} means any {law_thing} that {verb} a {common} within the meaning of {law_act}.
Under the {law_act}, a {law_thing} or {law_thing} may {Verb_plain} the {common}.
The {law_act} and {law_name} {letter} apply to each {law_thing}.
See {law_act} {section}, {law_name} {letter}, comment {section}-{small}.
{small}. {Common} {Common}. A {law_thing} need not give a {common}.
({letter}) {Common}. The {law_thing} must keep the {common} for {small} months.
{law_name} {small}—{Adj} {Common}s and {Common}
The {law_act} was amended on {date}; the {law_act} applies from {date}.
{law_thing_cap}s and {law_thing}s subject to the {law_act} must comply by {date}.
The threshold amount is {amount} from {date} through {date}.
"{Common} {common}" means a {common} under {section}.
1. {Common} {common}. If a {law_thing} {verb} a {law_thing}, {law_name} {section} applies.
Effective {date}. [{law_act} {number}]
Redacted: XXXX called XXXX in XX/XX/{year} about the {common}. XXXX said it was {adj}.
XXXX XXXX XXXX sent me a {common}, {law_act} notwithstanding.
[NAME] saw [NAME] at [ADDRESS] with {diagnosis} on [DATE].
[PATIENT-3f21bb09] takes {drug_cap}. [NAME] agreed.
TODO: {common} the {common}, {common} the {common}
{upper_heading} {upper_heading} {upper_heading}
{Adj} {Common}, {Adj} {Common} and {Adj} {Common} were discussed.
Patient is {adj}, {adj} and {adj}. Will {Verb_plain}.
Right {body} {exam}; left {body} {exam}.
Dr visit for {diagnosis}. Doctor said {drug}.
Chapter {small}: The {Adj} {Common}
Grade {small} {diagnosis}, stage {small}, {law_name} {letter}
The {capital} and the {capital} are {adj}, said the {job}.
{capital} {small}, {capital}, {capital}
I will {Verb_plain} the {common}. May I {Verb_plain} it? Will you?
{verb_cap} {common} {gerund} {adv} {adj} {common}
The {Adj} {Common} {verb} {Common} {Verb}
{Common} {Common} and {Adj} {Common}: {Common}
{gerund_cap} {Common} at the {Adj} {Common} {adv}
{common_cap} {verb} {common} {adv}, {gerund} the {adj} {common} of {common}.
what {common} is {adj} for {gerund}?
{Adj} {Common} {Common} is {verb} by the {Common} {Common}
I am {gerund} a {common} about {common} and {common}
Are you {gerund} to the {adj} {common}?
Who {verb} the {adj} {common}? The {job} {adv} {verb} it.
{acronym} {common} {verb}: {adj} {acronym} {common}
Hope is {adj}. Grace is {adj}. Faith, joy and mercy.
Mark the {common}. Bill the {common}. Rob no {common}. Frank talk. A rose is a {common}.
The turkey was {adj}. Fine china. A jersey, a guinea pig, brazil nuts, cologne, bologna.
Sue the {law_thing}. Drew a {common}. Will do. Chase the {common}. Pat the {body}. Jack up the car.
""")
