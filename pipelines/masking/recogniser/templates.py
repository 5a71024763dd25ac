"""Sentences with places to fill. A line is a template, `|` separates what is written over several lines, `{slots}` are `slots.py`'s."""

from __future__ import annotations

from typing import Final


def lines(text: str) -> tuple[str, ...]:
    """The templates of a block of text."""
    return tuple(line.strip().replace("|", "\n") for line in text.strip().splitlines() if line.strip())


POSITIVE: Final = lines("""
Hi, this is {name}. I moved to {address} and need the {common} sent there.
My name is {name} and I live at {address}.
my name is {name}, i was charged twice on my card {number}
This is {name} calling from {org} about your {common}.
Could you change my {common} to {address}, please? Thanks, {first}
Please ship the {common} to {address}.
I would like to update my address. The new one is {address}, the old one was {address}.
Is {first} there? Tell {him} that {first} from {org} rang.
How do I reset the password for {name}'s account?
I ordered a {common} from {org} on {date} and it never came to {city}.
Hello {first}, your {common} is ready for collection at {address}.
Can somebody at {org} call me back at {phone}? Ask for {name}.
What is the balance of the account in the name of {name}?
Do you deliver to {city}? I am in {country} at the moment.
Does {org} have a branch in {city}?
Where is the nearest {org} in {city}, {state}?
The {common} should go to {name}, {address}, not to me.
Send {amount} to {name}, {org}, account {number}.
I lost my {common} in {city} last {day}, can you block it? {name}
I have not heard from {first} since {month}.
Why was my {common} refused in {country}?
We will be travelling from {city} to {city} in {month}.
How far is it from {city} to {city}?
What time is it in {city} now?
Is {country} safe to visit in {month}?
{first} and {first} are flying to {country} on {day}.
Best restaurants near {street}, {city}
Meet us at {street} at {time}, {first} knows the way.
Turn left on {street}, then right at the corner of {crossing}.
There was a crash at {crossing} this morning.
The office stands at the intersection of {crossing} in {city}.
We used to live on {street} in {city}, {country}.
The shop at {street} closed in {year}.
You can find {org} at {address}.
The headquarters of {org} are at {address}.
{org}, {address}, is looking for a {job}.
{org} opened an office in {city}.
{org} is based in {city}, {country}.
{org} announced on {day} that {name} will become its {job}.
{name}, {job} at {org}, said the {common} was {adj}.
{name}, {age}, of {city}, was {gerund} when the {common} broke.
{name} ({age}), a {job} from {country}, has {verb} {name}.
"We are {adj}," said {name}, the {job} of {org}.
"I never {verb} {first}," {last} told {org}.
"{fill}, {first}," {name} said {adv}.
"Who is {name}?" asked {first}.
"It is {name}'s {common}", answered {last}.
"Have you seen {first}?" "No, {first} is in {city}."
{first}: "{fill}, where is {first}?" {first}: "{gerund_cap} in {city}."
{first}: {fill}, I saw {name} in {city}|{first}: really? when?|{first}: {adv}
{name}: Where are you?|{name}: At {street}.
{upper_name}: {fill}. {first}, come here!|{upper_name}: Why?
{speaker}: {fill}, what is your name?|{speaker}: {name}.
{speaker}: And who do you live with?|{speaker}: With my {kin}, {first}, in {city}.
{speaker}: Good morning, {title} {last}. How is the {body}?|{speaker}: {fill}, much better.
{speaker}: I am {title_dr} {last}. What brings you in?|{speaker}: I have had {symptom} since I came back from {country}.
{speaker}: Did {title_dr} {last} start you on {drug}?|{speaker}: {fill}. It was {title_dr} {last}.
{speaker}: Who is your primary doctor?|{speaker}: {title_dr} {name}, over at {org}.
{speaker}: Your {kin} {first} says that you have {symptom}.
{speaker}: Hi there, {first}. I see here that you were born in {country}?
{speaker}: Where do you work?|{speaker}: At {org}, I am a {job}.
{title} {last} is a {age}-year-old {job} with {diagnosis}.
{title} {last} was admitted to {org} with {symptom}.
{name} is a {age} year old female who presents with {symptom}.
Patient {name}, MRN {number}, seen on {date} for {diagnosis}.
Patient: {last_first} DOB: {date} MRN: {number}
PATIENT NAME: {upper_name}|DATE: {date}|PHYSICIAN: {upper_name}, M.D.
Thank you, {title_dr} {last}, for letting me see {title} {last} with {diagnosis}.
I discussed {exam} with {title_dr} {name} of {org}.
The patient's {kin}, {name}, can be reached at {phone}.
{heading}: {name} lives in {city} with {his} {kin} {first} and works at {org}.
{heading}: Lives at {address}. {kin_cap} {first} is the emergency contact.
Seen with {title_dr} {last}. {drug_cap} {dose} was continued.
{drug_cap} was started by {title_dr} {last} for {diagnosis} after {exam}.
Dictated by {name}, MD. cc: {name}
Signed, {name}, {job}
Attending: {name}|Resident: {name}|Nurse: {first}
Follow up with {title_dr} {name} at {address} in two weeks.
Was transferred from {org} in {city}, {state_code} by ambulance.
{his_cap} {kin} {first} has {diagnosis}; {his} {kin} {first} is well.
Dear {title} {last},|thank you for your {common}.|Regards,|{name}
Dear {first},|We met in {city}. The {common} is {adj}.|Yours,|{first}
Hi {first}, could you send the {common} to {name}? Best, {first}
{name}|{job_cap}|{org}|{address_ml}|{phone}
{name}|{address_ml}
{address_ml}
{org}|{address_ml}
{upper_name}|{address_ml}|Tel: {phone}
Kind regards,|{name}|{org}
Best,|{first} {last}|{email}
Name: {name}|Address: {address}|Phone: {phone}
Name: {name}, City: {city}, Country: {country}
name={name};street={street};city={city}
"name": "{name}", "city": "{city}", "employer": "{org}"
{last},{first},{street},{city},{state_code},{zip}
id;{number};{name};{email};{city}
First name: {first} Last name: {last} Town: {city}
Billing address: {address}|Delivery address: {address}
Ship to: {name}, {address}
From: {name} <{email}>|To: {name} <{email}>|Subject: {common}
Attendees: {name}, {name}, {first} and {name}
Cast: {name}, {name} and {name}
Present were {name} ({org}), {name} ({org}) and {name}.
{name} and {name} {verb} {name}.
{name} {verb} {first} {adv}.
{first} {verb} me {adv}, and {first} {verb} {last}.
{first}, {first} and {first} went to {city}.
{first} is {adj} and {first} is {adj}.
{name} was born in {city} in {year}.
{name} was born on {date} in {city}, {country}, the {kin} of {name} and {name}.
{name} studied at {org} and became a {job}.
{name} joined {org} in {year} as a {job}.
{name} died in {city} at the age of {age}.
Born in {country}, {name} moved to {city} in {year}.
The {job} {name} lives in {city}.
The {nation} {job} {name} {verb} the {nation} {job} {name}.
A {nation} {job}, {name}, won in {country}.
{kin_cap} of {name}, {first} was {adj}.
{relation} {kin} {first} is {gerund} at {org}.
{relation} {kin}, {name}, {verb} {name} {adv}.
I met {first} at {org} in {city}.
I am {name}.
I'm {first}, {relation} {kin}.
It's {name} here.
Who is {name}?
Where does {name} live?
Have you heard of {name}?
Do you remember {first} {last}?
Is {name} related to {name}?
When did {name} move to {country}?
What did {first} say about {org}?
Did {org} pay {name}?
Which songs did {name} write in {year}?
Listen to the new album by {name}.
{name}'s {common} is {adj}.
{name}'s new {common} came out on {date}.
The {common} of {last} was {adj}.
{last}'s {common}, {last}'s {common} and mine
{last} scored twice as {city} beat {city}.
{city} {day} - {org} said its {common} fell by {percent}.
{upper_city}, {month} {year} -- {name} {verb} the {job} of {country}.
{country} and {country} signed a {common} on {day}.
{country}'s {job} {name} arrived in {city} {adv}.
The {common} in {city} is {adj}.
The {nation} government asked {country} for a {common}.
People in {country} are {adj}.
Capital of {country}: {city}
{city}, {country}
{city}, {state_code} {zip}
{city}, {state}
in {city}
Flights from {city}, {country} to {city}, {country}
{city} to {city} by train
Population of {city}, {state}
Winter in {state} is {adj}.
The {common} was made in {country} and sold in {country}.
From {country} with love
She left {country} for {country}.
Greetings from {city}!
Moving from {state} to {state} was {adj}.
Weather for {city} {day}: {adj}
{street}
{street}, {city}
{address}
{address}, care of {name}
at {street}
Lives at: {address}
Go to {street}, it is next to {org}.
My address is {address}, phone {phone}.
his address: {address}, her address: {address}
The house at {address} was sold for {amount}.
The deed names the land at {address}, county of {city}.
The plaintiff, {name}, resides at {address}.
{name} v. {name}, No. {number}
{upper_name} v. {org}
This {law_name} is between {org} ("{law_thing}") and {name} ("{law_thing}"), {address}.
The {law_thing} shall send notices to {org}, {address}, attention {name}.
IN WITNESS WHEREOF, {name} for {org} and {name} for {org} have signed in {city}.
Case {number}: {name}, attorney for {org}
{org} sued {org} over a {common}.
{org} and {org} agreed to merge.
{org} shares rose {percent} on {day}.
Shares of {org} and {org} fell.
I work for {org}.
I bought a {common} at {org}.
{org} sent me a {common}.
Never again {org}!!! {name} was rude and the {common} was {adj}.
{org} is hiring: {job}
Complaint against {org}: they {verb} me {adv} about a {common} in {city}, {state_code}.
I called {org} and spoke to {first}, then to {title} {last}.
@{org} your {common} is {adj}
My employer is {org} and my boss is {name}.
Employee {name}, {job}, {org}, {city}
{name} ({org})
{name}, {org}
{name} - {job}
{name}
{first}
{name}; {name}; {name}
1. {name}|2. {name}|3. {name}
- {name}, {city}|- {name}, {city}
| Name | City | |{name} | {city} |
{title} {last}
{title} {name}
{title} and {title} {last}
{title} {first}
The {last} family lives in {city}.
The {last}s moved to {country}.
Call {first} on {phone} or write to {email}.
{first}'s email is {email}
Ask {first} about the {common}, not {first}.
Happy birthday, {first}!
Thanks {first}!
{fill} {first}, {fill}.
{fill}, {first} {last} here.
Goodbye {first}.
Sorry {title} {last}, {first} is not here.
{first}? {first}! Come to the {common}!
Is that you, {first}?
Listen, {first}, the {common} is {adj}.
To {first}, from {first}
Love, {first}
Yours sincerely {name}
By {name}
Photo: {name}/{org}
Text by {name}, pictures by {name}
(c) {year} {name}
The author, {name}, thanks {name}.
Interview with {name}, {job}
Witness {last} said that {last} was {gerund} near {street}.
Officer {last} {verb} {title} {last} on {street} in {city}.
On {date}, {name} {verb} {name} at {street}.
On {date} {name} of {address} bought a {common}.
Passenger {last}/{first}, {city} - {city}, {date}
Guest: {name}, room {small}, from {country}
Account holder {name}, IBAN {iban}
Pay to the order of {name}
{name}'s SSN is {ssn}
card {card}, exp 09/27, name on card {upper_name}
Driver's licence {number} belongs to {name}, {address}
IP {ip} was used by {name} from {city}
In case of emergency call {name} ({kin}) at {phone}
""")

LISTS: Final = lines("""
{first}, {first}, {first}, {first} and {first} {verb} the {common}
{first}, {first}, {first}, {first}, {first}, {first}
{name}, {name}, {name}, {name} and {name} were {verb} in {city}.
Team A: {first}, {last}, {last}, {first}. Team B: {first}, {first}, {last}
the children are {first}, {first}, {first} and little {first}
{last}, {last}, {last} and {last} ({year})
We {verb} {first}, {first}, {last}, the {job}, and {first}, who {verb} the {common} {adv}.
starring {name}, {name}, {name}, {name}, directed by {name}
{first} likes {common}, {first} likes {common}, {first} likes {gerund}, and {first} likes {first}.
{first} ({age}), {first} ({age}), {first} ({age}) and {first} ({age}) live in {city}
Shift plan: {day} {first}, {day} {first}, {day} {first} and {first}, {day} {last}
{first} and {first}, {first} and {first}, then {first} alone
cc {name}, {name}, {first}, {org}
If {first} is {gerund}, {first} is {adj}, {first} is {gerund} and {first} is not, who is {adj}?
{first} told {first}, {first} told {first}, and {first} {verb} {last}.
members: {name}; {name}; {name}; {name}; {name}
{last}-{last}, {last}-{last} and {last} {verb} {adv}
{city}, {city}, {city} and {city} are {adj}
we saw {country}, {country}, {country}, {city} and {city} in {year}
songs: {Common} by {name}, {Common} {Common} by {name}, The {Adj} {Common} by {last}
{first}: {small}, {first}: {small}, {first}: {small}, {last}: {small}
{first}, are you with {first}, or is {first} with {first}, {first} and {first}?
then {first}, {adj} as ever, {verb} {first}, the {job}, whom {first} had {verb} in {city}, and {last}, {verb}, {verb} {adv}
""")

FRAMES: Final = lines("""
{gerund_cap} with {first} {verb} the {common} {adv}
does {first} like {gerund}?
did {name} ever {Verb_plain} in {city}
what is the {adj}est {common} that {name} {verb}
the {adj} {common} of {name} was {verb} by {name} in {year}
{common} by {name} about {common}
{common}s by {last} are {adj}
is {name} {adj} or {gerund}?
{first} and the {common} of {common}
{adv_cap} {first} {verb} {gerund} and {gerund}
{common_cap} {common} {name} {verb} {common}
I {verb} that {first} {verb} {adv} in {city}
because {name} is {adj}, {first} {verb} {adv}
play {common} from {name} please
{verb} by {name} for {org} {adv}
give {first} the {adj} {common} and {first} the {common}
{first} said {first} {verb} {first}
how {adj} is {city} in {month}?
{city} is {adj} and {city} is {gerund}
{gerund} in {city} without {first}
the {adj} {city} {common} {verb} {name}
everyone in {country} {verb} {name} for {gerund}
{name} or {name}?
between {city} and {city} there is a {adj} {common}
if {first} {verb} the {common}, {last} will be {adj}
{nation} {common} {name} and {nation} {common} {name} {verb} {adv}
{verb_cap} {common}: {name} {verb} {common} at {street}
we {verb} {name}, {name} and {adj} {first} {adv}
{common} {common} at {address} {verb} {adv}
the {common} on {street} is {verb} and {verb}
has {last} {verb} the {common}? no, {last} is {gerund}
{job_cap} {name} {verb} {job} {name}
""")
