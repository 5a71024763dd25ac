"""The sentence templates and their questions, as text.

A block is one sentence with `{slot}` places, then lines `slot < question | question | ...`: the slot is the answer.
A slot's kind is its name without the trailing digit (`date2` is a `date`); kinds are made in `slots.py`.
A line `# topic` names what the block is about: one context holds at most one block of a topic, so that a question that
names no key ("What is the pulse?") has one answer. HELD_OUT is never trained on.
"""

from __future__ import annotations

REGULATION = """
In {year}, the {term} is {amt}.
amt < What is the {term} in {year}? | What was the {term} for {year}? | How much is the {term} in {year}? | {term} {year}?
year < In which year is the {term} {amt}?

For {year} the {term} was set at {amt}, and for {year2} it was set at {amt2}.
amt < What was the {term} for {year}? | How much was the {term} in {year}?
amt2 < What was the {term} for {year2}? | How much was the {term} in {year2}?

Effective {date}, the {term} is {amt}.
amt < What is the {term} effective {date}? | What {term} applies from {date}? | How much is the {term} as of {date}?
date < When does the {term} of {amt} take effect? | From what date is the {term} {amt}?

Between {date} and {date2}, the {term} amounts to {amt}.
amt < What is the {term} between {date} and {date2}? | How much is the {term} from {date}? | What is the {term} until {date2}?
date2 < Until when is the {term} {amt}?

During calendar year {year} the applicable {term} shall be {amt}.
amt < What is the applicable {term} in {year}? | What {term} applies during {year}? | State the {term} for {year}.

The {term} applicable from {month} 1, {year} through {month2} 30, {year} equals {amt}.
amt < What is the {term} in {year}? | How much is the {term} for {year}? | Which {term} applies in {year}?

Before {date}, the {term} is {amt}.
amt < What is the {term} before {date}? | How much was the {term} before {date}?

The {term} rose from {amt} in {year} to {amt2} in {year2}.
amt < What was the {term} in {year}?
amt2 < What was the {term} in {year2}? | To what did the {term} rise in {year2}?

The {term} for {year} is {amt}, an increase of {pct} over the previous year.
amt < What is the {term} for {year}? | How much is the {term} in {year}?
pct < By how much did the {term} increase for {year}? | What is the increase of the {term} for {year}?

The {term} is {amt}.
amt < What is the {term}? | How much is the {term}? | State the {term}. | What {term} applies?

The {role} may charge a {term} of up to {amt}.
amt < What {term} may the {role} charge? | How much {term} may the {role} charge? | What is the {term} the {role} may charge?

The {term} for each {adj} {noun} is {amt}.
amt < What is the {term} for each {adj} {noun}? | How much is the {term} for a {adj} {noun}?

In the region of {Place}, the {term} is {amt}; elsewhere it is {amt2}.
amt < What is the {term} in {Place}? | How much is the {term} in the region of {Place}?
amt2 < What is the {term} outside {Place}? | What is the {term} elsewhere?

A {noun} worth more than {amt} is exempt from section {section}.
amt < Above what value is a {noun} exempt from section {section}? | When is a {noun} exempt from section {section}?
section < From which section is a {noun} worth more than {amt} exempt?

The {rate} for {year} is {pct}.
pct < What is the {rate} for {year}? | What {rate} applies in {year}? | {rate} in {year}?

The {rate} on a {adj} {noun} is {pct}.
pct < What is the {rate} on a {adj} {noun}? | Which {rate} applies to a {adj} {noun}?

From {date}, the {rate} of {Org} is {pct}.
pct < What is the {rate} of {Org}? | What is the {rate} of {Org} from {date}?
date < From when is the {rate} of {Org} {pct}?

The {period} for a {adj} {noun} is {dur}.
dur < What is the {period} for a {adj} {noun}? | How long is the {period} for a {adj} {noun}?

The {role} must {verb} the {obj} within {dur}.
dur < Within what time must the {role} {verb} the {obj}? | How soon must the {role} {verb} the {obj}?
dur < By when must the {role} {verb} the {obj}? | How long does the {role} have to {verb} the {obj}?
role < Who must {verb} the {obj}? | Who has to {verb} the {obj} within {dur}?

The {role} shall {verb} the {obj} no later than {date}.
date < By what date shall the {role} {verb} the {obj}? | When must the {role} {verb} the {obj}? | What is the deadline to {verb} the {obj}?
role < Who shall {verb} the {obj}?

The {role} must keep {nps} for {dur}.
dur < How long must the {role} keep {nps}? | For how long are {nps} kept? | What is the retention time for {nps}?
role < Who must keep {nps}?

{Nps} must be retained for at least {dur} after {date}.
dur < How long must {nps} be retained? | For how long must {nps} be retained?

The {role} must {verb} the {obj} {conduct}.
conduct < How must the {role} {verb} the {obj}? | In what way must the {obj} be handled by the {role}?
role < Who must {verb} the {obj}?

If {reason}, the {role} must {verb} the {obj}.
role < Who must act if {reason}? | Who must {verb} the {obj} if {reason}?
reason < When must the {role} {verb} the {obj}? | In what case must the {role} {verb} the {obj}?

The {role} is not required to {verb} the {obj} when {reason}.
reason < When is the {role} not required to {verb} the {obj}? | In what case need the {role} not {verb} the {obj}?

The term "{defterm}" means {defn}.
defn < What does "{defterm}" mean? | What is meant by {defterm}? | Define {defterm}. | What is the meaning of {defterm}?

{Defterm} means {defn}.
defn < What does {defterm} mean? | What is a {defterm}? | What is the definition of {defterm}?

For purposes of section {section}, a {defterm} is {defn}.
defn < What is a {defterm}? | What is a {defterm} for purposes of section {section}? | Define {defterm}.
section < Which section defines {defterm}?

Section {section} applies to {nps}.
nps < What does section {section} apply to? | To what does section {section} apply?
section < Which section applies to {nps}?

The {datehead} for the {obj} is {date}.
date < What is the {datehead} for the {obj}? | When is the {datehead} for the {obj}?

The {datehead} of contract {code} is {date}.
date < What is the {datehead} of contract {code}? | When is the {datehead} of contract {code}?
code < Which contract has a {datehead} of {date}?

{Nps} stored in {place} must be checked every {dur}.
dur < How often must {nps} be checked? | How often are {nps} in {place} checked?
place < Where are {nps} stored?

The {obj} is kept in {place}.
place < Where is the {obj} kept? | In what place is the {obj} kept?

A fine of {amt} applies to a {role} who fails to {verb} the {obj}.
amt < What fine applies to a {role} who fails to {verb} the {obj}? | How much is the fine for failing to {verb} the {obj}?

A {role} that employs fewer than {int} persons need not {verb} the {obj}.
int < Below how many persons need a {role} not {verb} the {obj}? | How many persons may a {role} employ without having to {verb} the {obj}?

Form {code} replaces form {code2} as of {date}.
code < Which form replaces form {code2}? | What replaces form {code2}?
code2 < Which form does {code} replace? | What is replaced by form {code}?
date < When does form {code} replace form {code2}?
"""

CLINICAL = """
# bp
Blood pressure {bp}, heart rate {hr}, temperature {temp}.
bp < What is the blood pressure? | What was the blood pressure? | Blood pressure? | What blood pressure was recorded?
hr < What is the heart rate? | What was the heart rate?
temp < What is the temperature? | What was the temperature? | What temperature was measured?

# bp
On examination BP {bp}, pulse {hr}, temp {temp}, oxygen saturation {sat}.
bp < What is the BP? | What was the blood pressure on examination?
hr < What is the pulse? | What was the pulse?
sat < What is the oxygen saturation? | What was the oxygen saturation?
temp < What was the temperature?

# bp
Vitals: BP {bp}; HR {hr}; RR {rr}; weight {weight}.
bp < What is the BP? | What was the blood pressure?
hr < What is the heart rate?
rr < What is the respiratory rate? | What was the RR?
weight < What is the weight? | How much does the patient weigh?

# bp
Blood pressure was {bp} mmHg on arrival and {bp2} mmHg at discharge.
bp < What was the blood pressure on arrival?
bp2 < What was the blood pressure at discharge?

# bp
{Surname}: blood pressure {bp}, pulse {hr}.
bp < What is the blood pressure of {Surname}? | What was {Surname}'s blood pressure?
hr < What is the pulse of {Surname}? | What was {Surname}'s pulse?

# complaint
Presenting complaint: {sym} for {dur}.
sym < What is the presenting complaint? | What does the patient complain of? | Why did the patient come in?
dur < How long has the patient had {sym}? | For how long has the complaint lasted?

# complaint
The patient reports {sym} for the past {dur}, worse {when}.
sym < What does the patient report? | Which symptom is reported?
dur < How long has the patient had {sym}? | For how long has the patient had symptoms?
when < When is the {sym} worse? | When are the symptoms worse?

# complaint
{dur} history of {sym} and {sym2}. No {symbare}.
dur < How long is the history of {sym}? | How long has the patient had {sym}?

# complaint
{int}/7 hx of {sym}. Nil {symbare}.
sym < What is the presenting complaint? | What is the history of?

# complaint
{Surname} came in with {sym} that started {dur} ago.
sym < What did {Surname} come in with? | What is the complaint of {Surname}?
dur < When did the {sym} of {Surname} start? | How long ago did the {sym} start?

# pain
Complains of {pain} in the {body}, scored {int}/10.
pain < What does the patient feel in the {body}? | What is the complaint about the {body}?
body < Where is the {pain}? | Which part of the body has {pain}?

# pain
Tenderness over the {body}; no swelling of the {body2}.
body < Where is the tenderness? | What is tender?

# plan
Plan: {drug} {dose} {freq} for {dur}.
drug < What medication is planned? | Which drug was prescribed? | What was prescribed?
dose < What dose of {drug} was prescribed? | What is the dose of {drug}? | How much {drug}?
freq < How often should {drug} be taken? | How often is {drug} taken?
dur < For how long should {drug} be taken? | How long is {drug} prescribed for? | What is the duration of {drug}?

Started {drug} {dose} {freq}.
dose < What dose of {drug} was started? | What is the dose of {drug}?
freq < How often is {drug} taken? | How often should {drug} be taken?

Prescribed {drug}, {dose}, to be taken {freq}.
dose < What dose of {drug} was prescribed? | What is the dose of {drug}? | How much {drug} was prescribed?
freq < How often is {drug} to be taken? | How often should the patient take {drug}?

{Surname} takes {drug} {dose} {freq} for {cond}.
drug < What does {Surname} take for {cond}? | Which drug does {Surname} take? | What medication is {Surname} on?
dose < What dose of {drug} does {Surname} take? | What is the dose of {drug}?
freq < How often does {Surname} take {drug}?
cond < What does {Surname} take {drug} for? | Why does {Surname} take {drug}?

{Drug} was increased from {dose} to {dose2}.
dose < What was the dose of {drug} before? | From what dose was {drug} increased?
dose2 < To what dose was {drug} increased? | What is the new dose of {drug}? | What is the current dose of {drug}?

Stop {drug} because of {symbare}; switch to {drug2} {dose}.
drug < Which drug should be stopped? | Which drug was stopped?
drug2 < Which drug replaces {drug}? | What should {drug} be switched to?
dose < What is the dose of {drug2}? | What dose of {drug2}?

# dh
DH: {drug} {dose} {freq}, {drug2} {dose2} {freq2}.
dose < What is the dose of {drug}? | What dose of {drug} does the patient take?
dose2 < What is the dose of {drug2}? | What dose of {drug2} does the patient take?
freq < How often is {drug} taken?
freq2 < How often is {drug2} taken?

The usual adult dose of {drug} is {dose} {freq}, not exceeding {dose2} a day.
dose < What is the usual adult dose of {drug}? | What is the usual dose of {drug}?
dose2 < What is the maximum dose of {drug} a day? | What should {drug} not exceed?
freq < How often is {drug} usually given?

# allergy
Allergies: {allergen}.
allergen < What is the patient allergic to? | Which allergies does the patient have? | Any allergies?

# allergy
Allergic to {allergen}, which causes {symbare}.
allergen < What is the patient allergic to? | Which allergy is noted?
symbare < What does {allergen} cause? | What reaction does {allergen} cause?

# allergy
{Surname} is allergic to {allergen}.
allergen < What is {Surname} allergic to? | Which allergy does {Surname} have?

# pmh
PMH: {cond} and {cond2}.
cond < What is the first condition in the past medical history?

# pmh
Past medical history: {cond}, diagnosed in {year}.
cond < What is the past medical history? | Which condition was diagnosed in {year}?
year < When was {cond} diagnosed? | In which year was {cond} diagnosed?

# pmh
Known {cond} since {year}, well controlled.
cond < What condition is known since {year}? | What is the patient known to have?
year < Since when is {cond} known?

# impression
Imp: {cond}.
cond < What is the impression? | What is the diagnosis? | What was diagnosed?

# impression
Impression: likely {cond}, less likely {cond2}.
cond < What is the likely diagnosis? | What is the impression?
cond2 < What is less likely?

# impression
The findings are consistent with {cond}.
cond < What are the findings consistent with? | What is the diagnosis?

# follow
Follow up in {dur}.
dur < When is the follow up? | When should the patient be seen again? | What is the follow-up interval? | In how long is the follow up?

# follow
Review in {dur} with {title} {Surname}.
dur < When is the review? | In how long is the review? | When should the patient be reviewed?
title_Surname < Who will review the patient? | With whom is the review?

# follow
Return in {dur} or sooner if {symbare} develops.
dur < When should the patient return? | In how long should the patient return?
symbare < What should make the patient return sooner?

# test
Ordered {test} to be done within {dur}.
test < What was ordered? | Which test was ordered?
dur < Within what time should the test be done?

# test
{Surname} is booked for {test} on {date}.
test < What is {Surname} booked for? | Which test will {Surname} have?
date < When is {Surname} booked for {test}? | On what date is the test of {Surname}?

# social
SH: works as a {job}, lives in {Place}, drinks {int} units a week.
job < What is the patient's job? | What does the patient work as?
Place < Where does the patient live?
int < How many units does the patient drink a week?

# social
Occupation {job}; smokes {int} cigarettes a day.
job < What is the occupation? | What is the patient's occupation?
int < How many cigarettes does the patient smoke a day?

# family
FH: {cond} in father, {cond2} in mother.
cond < Which condition does the father have?
cond2 < Which condition does the mother have?

# lab
Haemoglobin {int} g/L, sodium {int2} mmol/L, glucose {dec} mmol/L.
int < What is the haemoglobin?
int2 < What is the sodium?
dec < What is the glucose? | What was the glucose?
"""

CONTRACT = """
Either party may end agreement {code} with {dur} notice.
dur < How much notice is needed to end agreement {code}? | With what notice may agreement {code} be ended?

{Org} shall pay {Org2} {amt} for the {obj}.
amt < How much shall {Org} pay {Org2}? | What does {Org} pay for the {obj}? | How much is paid for the {obj}?
Org < Who shall pay for the {obj}? | Who pays {Org2}?
Org2 < Whom shall {Org} pay? | Who is paid by {Org}?

Invoices from {Org} are payable within {dur}.
dur < Within what time are invoices from {Org} payable? | When are invoices from {Org} due? | What are the payment terms of {Org}?

The agreement between {Org} and {Org2} is governed by the law of {Place}.
Place < Which law governs the agreement between {Org} and {Org2}? | What law governs the agreement?
Org2 < With whom has {Org} an agreement?

Unit {code} is leased to {Org} for {amt} a month until {date}.
amt < What is the monthly rent of unit {code}? | How much does {Org} pay a month?
date < Until when is unit {code} leased? | When does the lease of unit {code} end?
Org < Who leases unit {code}? | To whom is unit {code} leased?
code < Which unit is leased to {Org}?

{Org} warrants the {product} for {dur}.
dur < How long does {Org} warrant the {product}? | How long is the warranty on the {product}?
product < What does {Org} warrant?

The liability of {Org} is limited to {amt}.
amt < What is the liability of {Org} limited to? | What is the limit of liability of {Org}?
Org < Whose liability is limited to {amt}?

The {role} appointed under clause {section} is {First} {Surname}.
First_Surname < Who is the {role} appointed under clause {section}? | Who is the {role}?
section < Under which clause is the {role} appointed?

Policy {code} covers {nps} up to {amt} with a deductible of {amt2}.
amt < Up to what amount does policy {code} cover {nps}? | What is the limit of policy {code}?
amt2 < What is the deductible of policy {code}?
nps < What does policy {code} cover?
code < Which policy covers {nps}?

The contract with {Org} was signed on {date} and ends on {date2}.
date < When was the contract with {Org} signed?
date2 < When does the contract with {Org} end? | What is the end date of the contract with {Org}?

{Org} delivers {int} {nps} to {place} every {freqnoun}.
int < How many {nps} does {Org} deliver? | How many {nps} are delivered every {freqnoun}?
place < Where does {Org} deliver {nps}?

Late payments to {Org} bear interest of {pct} a year.
pct < What interest do late payments to {Org} bear? | What is the interest on late payments to {Org}?
"""

SUPPORT = """
If the {product} shows error {code}, {action}.
action < What should I do if the {product} shows error {code}? | How do I fix error {code}? | What helps against error {code}?
code < Which error of the {product} is fixed so: {action}?

If {reason}, {action}.
action < What should be done if {reason}? | What to do when {reason}?

The {product} model {code} costs {amt}.
amt < How much does the {product} model {code} cost? | What is the price of model {code}? | What does the {code} cost?

The {product} supports up to {int} users.
int < How many users does the {product} support?

Ticket {code} was opened by {First} {Surname} on {date}.
First_Surname < Who opened ticket {code}?
date < When was ticket {code} opened? | On what date was ticket {code} opened?
code < Which ticket was opened on {date}? | Which ticket did {First} {Surname} open?

Ticket {code} is assigned to the {role}.
role < Who is ticket {code} assigned to? | Who handles ticket {code}?

Refunds for the {product} are paid within {dur}.
dur < How long do refunds for the {product} take? | Within what time are refunds for the {product} paid?

Version {dec} of the {product} was released on {date}.
dec < Which version of the {product} was released? | What version of the {product} was released on {date}?
date < When was version {dec} released? | When was the {product} version {dec} released?

Customers of {Org} call {phone} for help with the {product}.
phone < What number do customers of {Org} call? | What is the phone number of {Org}?
product < What do customers of {Org} get help with?

{First} {Surname} works as {role} in {Place}.
role < What does {First} {Surname} work as? | What is the job of {First} {Surname}?
Place < Where does {First} {Surname} work?
First_Surname < Who works as {role} in {Place}? | Who works in {Place}?

The {word} of {Place} reads: {jumble}.
jumble < What does the {word} of {Place} read? | How does the {word} of {Place} read? | What is the {word} of {Place}?

In {Place}, {word} stands for {jumble}.
jumble < What does {word} stand for? | What does {word} stand for in {Place}?

The {word} of {Place} is {word2}.
word2 < What is the {word} of {Place}?

{Org} was founded in {year} by {First} {Surname}.
year < When was {Org} founded?
First_Surname < Who founded {Org}?

The {product} is kept at {place} and serviced every {dur}.
place < Where is the {product} kept?
dur < How often is the {product} serviced?

{Surname}: {amt}
amt < {Surname}? | What is the amount for {Surname}? | How much for {Surname}?

{year}: {amt}
amt < {year}? | What is the amount for {year}? | How much in {year}?

{code} = {code2}
code2 < {code}? | What is {code}?
code < Which is {code2}?
"""

HELD_OUT = """
From January 1, {year} through December 31, {year}, the {term} is {amt}.
amt < What is the {term} in {year}? | What {term} applied during {year}?

From {date} through {date2}, the {term} is {amt}.
amt < What is the {term} from {date}? | What {term} applied through {date2}?

Prior to {date}, the {term} is {amt}.
amt < What was the {term} prior to {date}?

The {term} that applies in {year} comes to {amt}, and any contract above it is exempt.
amt < What {term} applies in {year}? | What is the {term} for {year}?

Under rule {section}, a {role} has {dur} to {verb} the {obj}.
dur < How long does a {role} have to {verb} the {obj}? | How many days does a {role} have under rule {section}?

The {noun} levy stands at {pct} as of {date}.
pct < At what percentage does the {noun} levy stand? | What is the {noun} levy as of {date}?

# bp
Obs today: blood pressure of {bp} with a pulse of {hr}.
bp < What is the blood pressure? | What was the blood pressure today?
hr < What is the pulse?

# plan
We agreed to begin {drug} at {dose}, taken {freq}.
dose < At what dose is {drug} begun? | What is the dose of {drug}?
freq < How often is {drug} taken?

{title} {Surname}, seen on {date}, BP reading {bp}, remains on {drug} {dose} {freq}.
bp < What was the BP reading of {title} {Surname}? | What is the blood pressure of {title} {Surname}?
dose < What dose of {drug} does {title} {Surname} take? | On what dose of {drug} does {title} {Surname} remain?

# follow
Telephone appointment booked in {dur} to discuss progress.
dur < When is the telephone appointment? | In how long is the appointment?

Under the deal, {Org} owes {amt} to the {role}.
amt < How much does {Org} owe? | What does {Org} owe to the {role}?
role < To whom does {Org} owe {amt}?
"""

FILLER = """
This section does not change any other duty of the {role}.
The {role} and the {role2} discussed the {obj}.
See also section {section} and the notes on {nps}.
Any {adj} {noun} may be handled by the {role} {conduct}.
Nothing here limits the right to {verb} the {obj}.
The {obj} was updated after the {noun} was inspected.
Advice given, and the patient agrees with the plan.
No red flags were found and the patient looks well.
As noted, {nps} are treated like {nps2}.
The parties agree that the {noun} remains {adj}.
Thank you for your message about the {product}.
For more information ask the {role}.
Rounding is to the nearest {int} units.
Other {nps} follow the general rule.
A change in the index may lead to a new amount.
It was {adj} weather in {Place} that week.
{jumble}.
{jumble}, {jumble}.
The {noun} {jumble}.
{jumble} ({jumble2}); {jumble3}.
{jumble} {int} {jumble2}.
{jumble}.
"""
