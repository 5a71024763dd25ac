"""Vocabulary of the generated text: what stands around a name, and what looks like one and is none. All of it written for this project."""

from __future__ import annotations

from typing import Final


def _list(text: str) -> tuple[str, ...]:
    """Entries of a block: separated by bars where there are any, else by blanks."""
    parts = text.split("|") if "|" in text else text.split()
    return tuple(" ".join(part.split()) for part in parts if part.strip())


MONTHS: Final = _list(
    """January February March April May June July August September October November December Jan. Feb. Aug. Sept. Oct. Nov. Dec."""
)
DAYS: Final = _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Wed Thu Fri")

COUNTRIES: Final = _list(
    """Afghanistan|Albania|Algeria|Andorra|Angola|Argentina|Armenia|Australia|Austria|Azerbaijan|Bahamas|Bahrain|Bangladesh|Barbados|
    Belarus|Belgium|Belize|Benin|Bhutan|Bolivia|Bosnia and Herzegovina|Botswana|Brazil|Brunei|Bulgaria|Burkina Faso|Burundi|Cambodia|
    Cameroon|Canada|Cape Verde|Chad|Chile|China|Colombia|Comoros|Congo|Costa Rica|Croatia|Cuba|Cyprus|Czech Republic|Denmark|Djibouti|
    Dominica|Ecuador|Egypt|El Salvador|England|Eritrea|Estonia|Eswatini|Ethiopia|Faroe Islands|Fiji|Finland|France|Gabon|Gambia|Georgia|
    Germany|Ghana|Gibraltar|Greece|Greenland|Grenada|Guam|Guatemala|Guinea|Guyana|Haiti|Honduras|Hong Kong|Hungary|Iceland|India|
    Indonesia|Iran|Iraq|Ireland|Israel|Italy|Ivory Coast|Jamaica|Japan|Jersey|Jordan|Kazakhstan|Kenya|Kiribati|Kosovo|Kuwait|Kyrgyzstan|
    Laos|Latvia|Lebanon|Lesotho|Liberia|Libya|Liechtenstein|Lithuania|Luxembourg|Madagascar|Malawi|Malaysia|Maldives|Mali|Malta|
    Mauritania|Mauritius|Mexico|Moldova|Monaco|Mongolia|Montenegro|Morocco|Mozambique|Myanmar|Namibia|Nauru|Nepal|Netherlands|
    the Netherlands|New Zealand|Nicaragua|Niger|Nigeria|North Korea|North Macedonia|Northern Ireland|Norway|Oman|Pakistan|Palau|Panama|
    Papua New Guinea|Paraguay|Peru|Philippines|the Philippines|Poland|Portugal|Puerto Rico|Qatar|Romania|Russia|Rwanda|Samoa|San Marino|
    Saudi Arabia|Scotland|Senegal|Serbia|Seychelles|Sierra Leone|Singapore|Slovakia|Slovenia|Solomon Islands|Somalia|South Africa|
    South Korea|Spain|Sri Lanka|Sudan|Suriname|Svalbard|Sweden|Switzerland|Syria|Taiwan|Tajikistan|Tanzania|Thailand|Timor-Leste|Togo|
    Tonga|Trinidad and Tobago|Tunisia|Turkey|Turkmenistan|Tuvalu|USA|UK|U.S.|U.K.|US|Uganda|Ukraine|United Arab Emirates|United Kingdom|
    United States|the United States|Uruguay|Uzbekistan|Vanuatu|Venezuela|Vietnam|Wales|Western Sahara|Yemen|Zambia|Zimbabwe|
    Virgin Islands|American Samoa|Antigua|Aruba|Bermuda|Macao|Palestine"""
)
STATES: Final = _list(
    """Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|
    Kentucky|Louisiana|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|
    New Jersey|New Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|South Carolina|
    South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|West Virginia|Wisconsin|Wyoming|Ontario|Quebec|Alberta|
    British Columbia|Bavaria|Queensland|Victoria|New South Wales|Kent|Yorkshire|Catalonia|Tuscany|Kerala|Punjab|Tasmania|Saxony|
    Normandy|Andalusia|Lombardy|Scania|Styria|Jutland|Brittany|Silesia"""
)
STATE_CODES: Final = _list(
    """AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA RI SC SD TN TX UT
    VT VA WA WV WI WY DC NSW VIC QLD ON QC BC AB"""
)
CITIES: Final = _list(
    """New York|Los Angeles|Chicago|Houston|Phoenix|San Antonio|San Diego|Dallas|Austin|Boston|Denver|Seattle|Detroit|Memphis|Portland|
    Baltimore|Tucson|Fresno|Sacramento|Atlanta|Omaha|Miami|Oakland|Tulsa|Tampa|Cleveland|Aurora|Honolulu|Orlando|Buffalo|Reno|Toledo|
    St. Louis|St. Paul|Fort Worth|Las Vegas|Salt Lake City|Kansas City|Newark|Anchorage|Lincoln|Madison|Durham|Richmond|Spokane|Tacoma|
    Boise|Savannah|Charleston|London|Manchester|Leeds|Glasgow|Bristol|Cardiff|Belfast|Liverpool|Oxford|Cambridge|York|Paris|Lyon|
    Marseille|Nice|Lille|Berlin|Hamburg|Munich|Cologne|Leipzig|Vienna|Graz|Zurich|Geneva|Basel|Rome|Milan|Turin|Naples|Venice|Florence|
    Madrid|Barcelona|Seville|Valencia|Lisbon|Porto|Athens|Warsaw|Krakow|Prague|Brno|Budapest|Bucharest|Sofia|Belgrade|Zagreb|Kyiv|
    Odessa|Moscow|St. Petersburg|Riga|Vilnius|Tallinn|Helsinki|Stockholm|Malmö|Gothenburg|Oslo|Bergen|Copenhagen|Aarhus|Reykjavik|
    Dublin|Cork|Brussels|Antwerp|Amsterdam|Rotterdam|The Hague|Istanbul|Ankara|Cairo|Lagos|Nairobi|Accra|Tunis|Casablanca|Johannesburg|
    Cape Town|Tel Aviv|Jerusalem|Haifa|Baghdad|Tehran|Dubai|Doha|Riyadh|Karachi|Lahore|Delhi|New Delhi|Mumbai|Bangalore|Chennai|Kolkata|
    Dhaka|Bangkok|Hanoi|Manila|Jakarta|Kuala Lumpur|Beijing|Shanghai|Shenzhen|Taipei|Seoul|Busan|Tokyo|Osaka|Kyoto|Nagoya|Sydney|
    Melbourne|Brisbane|Perth|Adelaide|Auckland|Wellington|Toronto|Montreal|Vancouver|Calgary|Ottawa|Mexico City|Guadalajara|Havana|
    Bogotá|Lima|Quito|Santiago|Buenos Aires|Montevideo|São Paulo|Rio de Janeiro|Caracas|Washington|Philadelphia|San Francisco|NYC|LA|
    D.C."""
)
NATIONS: Final = _list(
    """American British Canadian German French Spanish Italian Portuguese Dutch Belgian Swiss Austrian Polish Czech Hungarian Romanian
    Bulgarian Greek Turkish Russian Ukrainian Swedish Norwegian Danish Finnish Irish Scottish Welsh Chinese Japanese Korean Vietnamese
    Thai Indian Pakistani Iranian Iraqi Israeli Egyptian Moroccan Nigerian Kenyan Ghanaian Mexican Brazilian Argentinian Chilean
    Colombian Cuban Australian Hispanic Asian African Caucasian Jewish Muslim Catholic Buddhist Christian Republican Democrat English
    Arabic Hindi Latin"""
)

JOBS: Final = _list(
    """teacher|nurse|plumber|accountant|retired electrician|bus driver|software engineer|chef|librarian|carpenter|farmer|welder|cashier|
    barber|judge|architect|lecturer|manager|director|singer|painter|goalkeeper|drummer|spokeswoman|chairman|lawyer|dentist|poet|waiter|
    photographer|violinist|senator|mayor|translator|coach|editor|historian|pilot|chemist|midwife|tailor|clerk|analyst|chief executive"""
)
TITLES: Final = _list(
    """Mr. Mrs. Ms. Dr. Miss Mr Mrs Ms Dr Prof. Professor Doctor Nurse Sir Madam Judge Captain Sergeant Rev. Herr Frau Signora Monsieur
    Señor"""
)
KIN: Final = _list(
    """son|daughter|wife|husband|mother|father|sister|brother|partner|friend|niece|nephew|aunt|uncle|cousin|neighbour|grandson|grandmother|
    boss|girlfriend|boyfriend|mom|dad|roommate|colleague|caregiver|landlord"""
)
RELATIONS: Final = ("my", "his", "her", "their", "our", "the patient's", "your")

DRUG_HEADS: Final = _list(
    """zelo quin ator brav lume nor vel trax cyl dor far meta pran sulf tri oxa ben clo dex fen gli keto lev mon napro pred rivo zol hydra
    ven"""
)
DRUG_TAILS: Final = _list(
    """trin pril zole mycin cillin statin lol dipine sartan formin zepam oxetine azine prazole mab nib tide gliptin floxacin vir cort xaban
    profen done"""
)
DIAGNOSES: Final = _list(
    """hypertension|diabetes mellitus|Type 2 diabetes|coronary artery disease|COPD|asthma|GERD|hypothyroidism|osteoarthritis|
    rheumatoid arthritis|anemia|congestive heart failure|atrial fibrillation|chronic kidney disease|pneumonia|cellulitis|migraine|
    depression|anxiety|ADHD|PTSD|MRSA|UTI|DVT|sciatica|lumbago|gout|psoriasis|eczema|diverticulitis|appendicitis|cholecystitis|
    pancreatitis|hepatitis C|cirrhosis|sleep apnea|glaucoma|cataract|tinnitus|vertigo|syncope|bradycardia|endometriosis|preeclampsia|
    prostatitis|BPH|Crohn's disease|Parkinson's disease|Alzheimer's dementia|Bell's palsy|Hashimoto's thyroiditis|Graves' disease|
    Raynaud's phenomenon|Barrett's esophagus|Hodgkin lymphoma|Sjogren syndrome|Down syndrome|Lyme disease|Paget disease|
    Huntington's chorea|Addison's disease|Cushing's syndrome|Tourette's|Guillain-Barré syndrome|Kawasaki disease|Marfan syndrome|
    Meniere's disease|Baker's cyst|Dupuytren contracture|Peyronie's|Wolff-Parkinson-White|Legg-Calve-Perthes|Ehlers-Danlos"""
)
BODY: Final = _list(
    """left knee|right shoulder|lower back|neck|abdomen|chest|left ankle|right hip|throat|scalp|wrist|jaw|left eye|right ear|groin|calf|
    elbow|foot|sinuses|gums|thigh"""
)
EXAMS: Final = _list(
    """CT scan|MRI of the brain|EKG|ECG|echocardiogram|colonoscopy|EGD|chest x-ray|Pap smear|PSA|CBC|BMP|hemoglobin A1c|TSH|
    Doppler ultrasound|EMG|Holter monitor|Foley catheter|Babinski sign|Romberg test|Homan's sign|Murphy's sign|McMurray test|
    Lachman test|Phalen's test|Glasgow Coma Scale|Swan-Ganz catheter|Apgar score|Kocher clamp|Mallampati class II|Gram stain|
    Steri-Strips|Hemovac drain|Bovie cautery|Allis clamps|Penrose drain|Kerlix|Dermabond|Mini-Mental"""
)
HEADINGS: Final = _list(
    """CHIEF COMPLAINT|HISTORY OF PRESENT ILLNESS|Past Medical History|SOCIAL HISTORY|Family History|REVIEW OF SYSTEMS|
    Physical Examination|ASSESSMENT|Assessment and Plan|Plan|ALLERGIES|MEDICATIONS|Current Medications|IMPRESSION|Procedure|HEENT|
    Cardiovascular|Respiratory|GI|GU|Neuro|Skin|Extremities|Vital Signs|Labs|Imaging|DISPOSITION|Hospital Course|Discharge Instructions|
    Gyn History|Immunizations|Psych|General|Lungs|Heart|Subjective|Objective|PREOPERATIVE DIAGNOSIS|Anesthesia|Estimated Blood Loss|
    Complications|Follow Up|Diet|Activity|Note|Summary|Findings|Comment|Re|Subject|Warning"""
)
FILLERS: Final = _list(
    """Um|Uh|Hmm|Okay|OK|Yeah|Yep|Nope|Right|Sure|Well|So|Oh|Ah|Mm-hmm|Uh-huh|Alright|Great|Good|Perfect|Wow|Gosh|Thanks|Sorry|Hello|Hi|
    Hey|Bye|Absolutely|Exactly|Correct|Actually|Honestly|Anyway|Please|Yes|No|Nah|Cool|Fine|Got it|I see|Of course|Good morning|
    Good afternoon|Indeed|Maybe|Whoa|Ouch|Goodness|Wonderful|Excellent|Definitely|Huh|Lovely|Welcome|Congratulations|Cheers"""
)
SPEAKERS: Final = _list(
    """Doctor Patient Guest_family Nurse Speaker Agent Customer Guest_clinician Caller Operator Interviewer Q A User Assistant Mom Host
    Clinician"""
)
CAPITALS: Final = _list(
    """Medicare|Medicaid|Advil|Google|Bluetooth|Christmas|Easter|Thanksgiving|Ramadan|Internet|Wi-Fi|Zoom|iPhone|Excel|Covid|COVID-19|
    Tylenol|Botox|Q-tip|Velcro|Kleenex|Bible|Halloween|God|Lord|Facebook|Netflix|Uber|Jeep|Honda|Toyota|Android|Windows|Python|Java|
    Linux|Spring|Summer|Winter|Autumn|Earth|Mars|North|South|West|Sun|Vitamin D|Vitamin B|Pilates|Yoga|Coke|Gatorade|Benadryl|Aspirin|
    Motrin|Percocet|Xanax|Lasix|Zyrtec|Coumadin|HMO|PPO|ICU|ER|OR|PRN|NPO|BID|TID|IV|PCP|OB|DNR"""
)
ACRONYM_LETTERS: Final = "ABCDEFGHIKLMNOPRSTUVW"
SYMPTOMS: Final = _list(
    """shortness of breath|a sore throat|chest pain|nausea and vomiting|a dry cough|dizziness|blurry vision|a rash|swelling|
    numbness and tingling|night sweats|chills|fatigue|heartburn|joint stiffness|hair loss|back spasms|a headache|trouble sleeping|
    palpitations|diarrhea|weight loss|hives|muscle cramps|fever"""
)
LAW_THINGS: Final = _list(
    """lessor|lessee|creditor|applicant|consumer|financial institution|licensee|covered person|borrower|cardholder|
    nonaffiliated third party|servicer|depository institution|agency|issuer|dealer|tenant|landlord|employer|insurer|trustee|holder|
    guarantor|assignee|broker|vendor|supplier|Contractor|Company|Client|Party"""
)
LAW_NAMES: Final = _list(
    """Regulation|Section|Appendix|Part|Supplement|Paragraph|Subpart|Title|Model Form|Comment|Article|Chapter|Exhibit|Schedule|Annex|
    Clause|Rule|Form|Table"""
)
LAW_ACTS: Final = _list(
    """Consumer Leasing Act|Equal Credit Opportunity Act|Truth in Lending Act|Fair Credit Reporting Act|Dodd-Frank Act|
    Gramm-Leach-Bliley Act|Act|Code|Federal Register|Official Interpretations|Bureau|Board|Commission|Consumer Price Index|
    Administrative Procedure Act|Paperwork Reduction Act|Privacy Act|Bankruptcy Code|Internal Revenue Code|Home Mortgage Disclosure Act|
    Fair Housing Act|Safe Harbor|Opt-Out Notice|Federal Reserve Banks|Small Business Act|Uniform Commercial Code|
    Fair Debt Collection Practices Act|Lanham Act|Taft-Hartley Act|Sarbanes-Oxley Act|Glass-Steagall Act|Miranda rights|
    Chevron deference"""
)
ORG_TAILS: Final = _list(
    """Inc.|Inc|LLC|Ltd|Ltd.|Corp.|Corporation|Group|Holdings|GmbH|AG|S.A.|Co.|& Co.|PLC|Partners|Bank|Foundation|University|Hospital|
    Clinic|Institute|Airlines|Pharmacy|Records|Motors|Foods|Systems|Solutions|Industries|Insurance|Energy|Studios|Press|Times|
    Consulting|Logistics|Technologies|Trust|Association|College|School|Museum|Store|Markets|Cafe|Restaurant|Hotel|Church|FC|United|Labs|
    Software|Services|Medical Center|Health|Supermarket|Books|Brothers|& Sons|and Sons"""
)
ORG_WORDS: Final = _list(
    """Apex Summit Blue River Golden Pioneer Silver Northern Global First National United Pacific Atlantic Alpine Bright Nova Quantum Delta
    Omega Metro Prime Liberty Eagle Falcon Cedar Maple Stone Harbor Vertex Zenith Orbit Crystal Evergreen Royal Union Central Hometown
    Happy Red Sunrise Titan Urban Velvet Wild Fresh Smart Star Iron Copper Solar Lunar Vision Modern Classic Rapid Value Food Auto Music
    Home Pet Book Data Cloud Net Tech Bio Med Agri Aqua Cyber Future Circuit Shoe Record"""
)
ORG_KNOWN: Final = _list(
    """Microsoft|Siemens|Toyota|Nestlé|Samsung|Oxfam|Red Cross|UNICEF|World Bank|Reuters|NATO|UNESCO|Volkswagen|Sony|IBM|Intel|Boeing|
    Walmart|Target|Costco|Nike|Pfizer|Bayer|Deutsche Bank|HSBC|Barclays|Wells Fargo|Chase|Visa|FedEx|UPS|DHL|Lufthansa|IKEA|Spotify|
    Twitter|Tesla|Ford|Shell|BP|Disney|Warner Bros|NASA|MIT|Harvard|FIFA|WHO|BBC|CNN|EU|UN|Amnesty International|Greenpeace|Mayo Clinic|
    Oracle|Cisco|Unilever|Danone|Airbus|Renault|Fiat|Audi|Zara|H&M|Aldi|Tesco|Starbucks|KFC|Uber|Airbnb|eBay|PayPal|Adobe|Dell|HP"""
)
STREET_TAILS: Final = _list(
    """Street|St|St.|Avenue|Ave|Ave.|Road|Rd|Rd.|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace|Way|Parkway|Circle|Highway|
    Square|Trail|Row|Close|Crescent|Walk|Alley|Loop|Grove|Hill|Park|Gardens|Mews|Plaza|Turnpike|Pass|Ridge|Point|Path|Run|Green|View"""
)
STREET_WORDS: Final = _list(
    """Oak Maple Cedar Pine Elm Main Church High Station Mill Park Lake River Spring Walnut Chestnut Washington Lincoln Jackson Franklin
    Highland Sunset Willow Victoria King Queen Market Bridge North South East West Center Meadow Forest Hill Valley Ridge Broad Front
    Union Prospect Pleasant Grand Cherry Dogwood Hickory Railroad College"""
)
STREET_FOREIGN: Final = _list(
    """Rue {x}|rue de {x}|Rue du {x}|Avenue {x}|Boulevard {x}|{x}straße|{x}strasse|{x}str.|{x}weg|{x}platz|{x}gasse|{x}allee|Calle {x}|
    Calle de {x}|C/ {x}|Avda. {x}|Avenida {x}|Plaza {x}|Via {x}|Via del {x}|Viale {x}|Piazza {x}|Corso {x}|Rua {x}|Travessa {x}|
    {x}straat|{x}laan|{x}gracht|{x}weg|{x}gatan|{x}vägen|{x}vej|{x}gade|{x}veien|{x}gata|{x}katu|{x}tie|{x}polku|ul. {x}|ulica {x}|
    Ulica {x}|aleja {x}|{x} utca|{x} u.|{x} út|{x} tér|{x}ova ulice|Na {x}|nám. {x}|Strada {x}|Bulevardul {x}|bul. {x}|ul. {x}|
    {x} ulitsa|prospekt {x}|{x} Cad.|{x} Sokak|{x} Mah.|Jalan {x}|Jl. {x}|Lorong {x}|{x} Marg|{x} Nagar|{x} Road|Carrera {x}|Rruga {x}|
    {x} iela|{x} g.|Pod {x}|{x} tänav|Sokak {x}|{x}hof|Am {x}|Im {x}|Op den {x}|Chaussée de {x}|Quai {x}|Kifissias {x}"""
)
STREET_PHRASES: Final = _list(
    """rue de la {x}|rue des {x}|Rue de l'{x}|avenue du {x}|chemin de la {x}|place de {x}|impasse des {x}|allée du {x}|Calle de la {x}|
    Calle de los {x}|calle del {x}|Carrer de {x}|Carrer d'en {x}|Avenida de la {x}|Paseo de {x}|Camino de la {x}|Plaza de la {x}|
    Via dei {x}|via della {x}|Viale dell'{x}|Largo di {x}|Rua da {x}|Rua de {x}|Rua dos {x}|Avenida da {x}|Largo do {x}|An der {x}|
    Auf dem {x}|Zum alten {x}|In der {x}|Unter den {x}|Hinter der {x}|Alte {x} Straße|Op de {x}|Van {x}straat|van der {x}laan|
    Burgemeester {x}laan|Laan van {x}|ul. gen. {x}|ul. sw. {x}|os. {x}|pl. {x}|al. {x}|{x} ter|{x} utca|{x} körút|{x} köz|Gamle {x}vei|
    Store {x}gade|Norra {x}gatan|{x}s väg|{x}n katu|{x}gatan|Na {x}|U {x}|Pod {x}|K {x}|nad {x}|ulica {x} in {x}|Str. {x}|Aleea {x}|
    Sos. {x}|{x} yolu|{x} bulvari|Taman {x}|{x} no|Gata {x}|Kraanspoor {x}|Chaussée {x}|Quai de la {x}"""
)
FLOORS: Final = _list(
    """{n}º {x}|piso {n}|bajo|{n}° piano|int. {n}|scala {x}|lok. {n}|m. {n}|kv. {n}|ap. {n}|bl. {n}|et. {n}|bus {n}|{n}e étage|bât. {x}|
    {n}. OG|Top {n}|dpto {n}|of. {n}|{n}. em.|esc. {x}|{n} tv|{n}. th|as. {n}|D.{n}|Nr. {n}|lgh {n}|No. {n}"""
)
TOWN_SHAPES: Final = _list(
    """San {x}|Santa {x}|Saint {x}|St. {x}|Bad {x}|New {x}|Port {x}|El {x}|La {x}|Las {x}|Los {x}|Le {x}|North {x}|South {x}|East {x}|
    West {x}|Fort {x}|Upper {x}|Lower {x}|Great {x}|Mount {x}|Lake {x}|Villa {x}|Nova {x}|Old {x}|{x} City|{x} Springs|{x} Falls|
    {x} Beach|{x} Heights|{x} Park|{x} Hills|{x} Bay|{x} Valley|{x} Island|{x} Islands|{x} Village|{x} Junction|{x}-{y}|{x} {y}|
    {x} am {y}|{x}-sur-{y}|{x} upon {y}|{x} de {y}|{x} del {y}|{x} di {y}|{x} an der {y}|{x} ob {y}|{x} nad {y}|{x}-les-{y}|{x} da {y}|
    {x} and {y}|Republic of {x}|Isle of {x}"""
)
UNITS: Final = _list("Apt|Apt.|Apartment|Suite|Ste|Unit|Flat|#|Room|Floor|Bldg|Building")

COMMON: Final = _list(
    """apple bottle carpet door engine fence garden hammer island jacket kettle ladder mirror napkin onion pencil quilt river shovel table
    umbrella valley window yard zipper answer bridge candle dinner evening flower ghost honey idea jungle kitchen lemon market needle
    office paper question road sugar ticket uncle village weather box year account balance card bill payment order refund delivery
    parcel phone number address email name street city invoice receipt warranty contract meeting report project budget schedule song
    album movie book story game team match season ticket concert train flight hotel beach mountain lake weekend holiday party birthday
    wedding school class exam lesson computer keyboard screen password website server message letter photo camera battery charger coffee
    bread cheese salad chicken dog cat horse bird fish tree grass rain snow wind sun moon night morning week month hour minute second
    money price cost tax rent loan bank job work boss doctor nurse hospital medicine pain fever knee back head"""
)
VERBS: Final = _list(
    """asked called emailed visited met saw knows likes helped thanked invited told found remembers married hired sued paid drove taught
    follows beat joined left chose heard blamed recommended interviewed photographed greeted promised wrote sent texted replaced trusts
    admires painted phoned warned hugged escorted nominated defeated"""
)
GERUNDS: Final = _list(
    """working waiting cooking reading walking driving singing living studying sleeping talking writing playing shopping travelling staying
    moving calling"""
)
ADJECTIVES: Final = _list(
    """big old new good bad quick slow warm cold happy late early strange heavy light small green red tired honest famous young quiet busy
    sharp loud"""
)
ADVERBS: Final = _list(
    """yesterday today again often never always later recently suddenly twice soon tomorrow finally actually probably still already once
    here there"""
)
