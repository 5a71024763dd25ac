"""The word lists behind the generated text: ordinary words of four genres, and the parts of invented ones.

All lists are written for this project; nothing is taken from a document. Drug names are common generic names.
"""

from __future__ import annotations


def _w(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split(",") if part.strip())


SYLLABLES = _w(
    "ba,bel,bor,bri,ca,cel,cor,dra,dal,den,dor,el,en,fa,fen,for,ga,gel,gor,ha,hel,hin,il,in,jo,ka,kel,kor,la,len,lin,"
    "lo,ma,mar,mel,mi,mon,na,nel,nor,o,or,pa,pel,per,qua,ra,rel,rin,ro,sa,sel,sim,sol,sta,ta,tel,tor,tri,u,ul,va,vel,"
    "vin,vo,wa,wen,wor,xa,ya,yor,za,zel,zi,zor,the,sha,cho,ku,ti,bu,du,fi,gu,hu,je,ki,lu,nu,pi,ru,si,tu,wi,ze"
)
FIRST_NAMES = _w(
    "Anna,Ben,Carla,David,Elena,Farid,Grace,Hassan,Ines,Jonas,Kofi,Laura,Maria,Nadia,Omar,Paula,Quentin,Rosa,Samir,"
    "Tara,Ugo,Vera,Wei,Ximena,Yusuf,Zoe,Alice,Boris,Chen,Diego,Emma,Felix,Hanna,Ivan,Julia,Karim,Lena,Marta,Nils,Priya"
)
TITLES = _w("Mr,Ms,Mrs,Dr,Dr.,Mr.,Ms.,Professor,Nurse")
SUFFIXES = _w("son,berg,wood,field,ley,ova,ez,i,ard,man,stein,well,ham,ton,sen,ski,ford,er,ini,ano")
ORG_TAILS = _w(
    "Ltd,Inc.,LLC,Bank,Leasing,Holdings,Group,Logistics,Clinic,Hospital,Insurance,Systems,Foods,Energy,Partners,"
    "Credit Union,Motors,Telecom,Software,Pharma,Authority,Council,Trust,Association"
)
ROLES = _w(
    "lessor,lessee,creditor,card issuer,servicer,borrower,tenant,landlord,supplier,buyer,seller,carrier,insurer,"
    "employer,trustee,auditor,licensee,operator,controller,processor,administrator,broker,agent,registrar,custodian,"
    "branch manager,compliance officer,data protection officer,duty nurse,pharmacist,ward clerk,shift lead,"
    "account manager,support engineer,project owner,vendor,contractor,subcontractor,guarantor,financial institution,"
    "lender,debt collector,plan sponsor,transfer agent,importer,manufacturer,distributor,site supervisor,treasurer,"
    "board secretary,chief risk officer,records office,help desk,on-call engineer,general practitioner,physiotherapist,"
    "ward sister,consultant,dispatcher,harbour master,safety inspector,claims adjuster,franchisee,licensor,customer"
)
VERBS = _w(
    "deliver,file,keep,submit,review,sign,publish,send,provide,approve,retain,update,archive,record,confirm,inspect,"
    "return,certify,disclose,renew,post,mail,check,correct,replace,register,store,destroy,encrypt,report,verify,"
    "document,complete,prepare,issue,acknowledge,amend,translate,countersign,test"
)
OBJECTS = _w(
    "notice,annual report,ledger,disclosure form,access log,inventory,risk assessment,payment schedule,"
    "inspection certificate,complaint register,account statement,privacy notice,lease agreement,insurance policy,"
    "delivery note,consent form,training record,backup copy,incident report,price list,purchase order,audit trail,"
    "customs declaration,safety plan,fee table,warranty card,medication chart,discharge letter,referral form,"
    "test results,visitor list,credit report,transfer request,budget forecast,meeting minutes,maintenance log,"
    "quality manual,tax return,service ticket,release notes,recovery plan,key register,sample label,shift rota,"
    "initial disclosure,written statement,electronic record,periodic statement,closing statement,security certificate"
)
AMOUNT_MODS = _w(
    "annual,late payment,early termination,security,excess mileage,cleaning,delivery,wire transfer,overdraft,filing,"
    "renewal,inspection,import,storage,licence,membership,parking,registration,transfer,disposal,handling,monthly,"
    "minimum,maximum,basic,standard,consumer,commercial,agricultural,mortgage,deposit,appraisal,asset,transaction,"
    "travel,meal,training,exempt,reporting,contract,lease,credit,loan,equipment,returned check,replacement card"
)
AMOUNT_HEADS = _w(
    "threshold amount,limit,fee,penalty,charge,premium,allowance,cap,surcharge,rebate,deductible,balance,reserve,"
    "tariff,threshold,deposit,fine,cost,price,amount,payment,budget,exemption,subsidy,grant,bonus,refund,rate"
)
RATE_HEADS = _w(
    "interest rate,discount rate,penalty rate,reserve ratio,late charge rate,commission,tax rate,margin,"
    "participation rate,growth rate,error rate,royalty,down payment share,coverage ratio,capital ratio,service level"
)
PERIOD_HEADS = _w(
    "notice period,retention period,cooling-off period,grace period,warranty period,review cycle,response time,"
    "probation period,lease term,waiting period,payment term,embargo,rescission period,trial period,storage period,"
    "inspection window,appeal period,delivery time,lock-in period,record-keeping period"
)
DATE_HEADS = _w(
    "effective date,filing deadline,renewal date,closing date,expiry date,start date,deadline,compliance date,"
    "hearing date,delivery date,review date,end date,transition date,publication date,cut-off date,signing date"
)
NOUNS = _w(
    "vehicle,property,account,contract,device,payment,service,document,building,product,patient,shipment,certificate,"
    "agreement,transaction,person,record,sample,system,policy,machine,container,meeting,network,form,loan,parcel,"
    "facility,instrument,programme,table,river,engine,garden,station,school,market,bridge,letter,window,paper,signal"
)
PLURALS = _w(
    "vehicles,goods,funds,services,documents,claims,products,patients,records,samples,households,consumers,members,"
    "employees,visitors,devices,shipments,invoices,batteries,chemicals,animals,medicines,minerals,passengers,students,"
    "payments,contracts,tools,pipes,wires,licences,securities,deposits,branches,vessels,meals,books,seeds,roads"
)
ADJECTIVES = _w(
    "small,large,written,electronic,temporary,permanent,public,private,personal,annual,regular,special,shared,direct,"
    "secure,external,internal,sealed,foreign,domestic,initial,final,partial,joint,official,certified,portable,rural,"
    "urban,medical,digital,legal,hazardous,perishable,registered,licensed,qualified,covered,exempt,open-end,closed-end"
)
PLACES = _w(
    "the main office,the north gate,the front desk,the registry,the warehouse,the central archive,room 14,the pharmacy,"
    "the loading dock,the customer portal,the branch office,the ground floor,the regional court,the day clinic,"
    "the east wing,the secure cabinet,the company website,the cold store,the mail room,the control room,the harbour"
)
REASONS = _w(
    "the records are incomplete,the payment is late,the device fails a safety check,the contract is amended,"
    "the address has changed,the seal is broken,the patient withdraws consent,the balance falls below zero,"
    "the goods arrive damaged,the customer files a complaint,the password was shared,the licence expires,"
    "the vehicle is stolen,the invoice is disputed,the system is unavailable,the sample is contaminated,"
    "the consumer requests it in writing,the price changes by more than a tenth,the supplier becomes insolvent"
)
ACTIONS = _w(
    "restart the router,clear the cache,reset the password,reinstall the driver,contact the billing team,"
    "update the firmware,check the power cable,open a new ticket,export the report again,enable two-factor login,"
    "replace the battery,log out and log in again,disable the plug-in,increase the timeout,ask for a replacement unit,"
    "suspend the account,notify the regulator,quarantine the batch,stop the transfer,inform the customer by letter"
)
DRUGS = _w(
    "amoxicillin,ibuprofen,paracetamol,metformin,lisinopril,amlodipine,atorvastatin,sertraline,omeprazole,"
    "salbutamol,prednisolone,warfarin,ramipril,simvastatin,citalopram,levothyroxine,codeine,naproxen,doxycycline,"
    "furosemide,gabapentin,losartan,bisoprolol,cetirizine,aspirin,fluoxetine,insulin,loratadine,clarithromycin"
)
DRUG_TAILS = _w("pril,statin,olol,cillin,mycin,azole,sartan,idine,oxin,amide,prazole,zepam,formin,mab,vir,ine,ol")
ALLERGENS = _w(
    "penicillin,latex,peanuts,shellfish,aspirin,eggs,pollen,sulfa drugs,iodine,cat hair,bee stings,codeine,nuts,"
    "dust mites,milk,soy,nickel,trimethoprim,strawberries,ibuprofen"
)
BODY_PARTS = _w(
    "left knee,right knee,lower back,chest,abdomen,throat,left ear,right ear,right shoulder,neck,left ankle,right hip,"
    "left wrist,forehead,right hand,upper arm,jaw,scalp,left foot,right elbow"
)
PAINS = _w(
    "sharp pain,dull ache,swelling,stiffness,numbness,a burning sensation,an itchy rash,cramping,tenderness,tingling,"
    "redness,throbbing pain,bruising,weakness,discomfort"
)
SYMPTOMS = _w(
    "a dry cough,shortness of breath,headache,dizziness,nausea,vomiting,fever,sore throat,fatigue,loss of appetite,"
    "palpitations,blurred vision,diarrhoea,constipation,night sweats,a runny nose,insomnia,heartburn,wheezing,"
    "difficulty swallowing,weight loss,low mood,back pain,joint pain,ear pain,itchy eyes,chest tightness,a skin rash"
)
CONDITIONS = _w(
    "asthma,hypertension,type 2 diabetes,migraine,eczema,depression,hay fever,gout,anaemia,osteoarthritis,COPD,"
    "hypothyroidism,a urinary tract infection,viral gastroenteritis,tonsillitis,sinusitis,gastritis,pneumonia,"
    "contact dermatitis,a muscle strain,conjunctivitis,acute bronchitis,angina,anxiety,psoriasis,otitis media"
)
TESTS = _w(
    "a full blood count,a chest X-ray,an ECG,a urine dipstick,a throat swab,an ultrasound scan,liver function tests,"
    "a stool sample,an MRI scan,a thyroid function test,a spirometry test,a skin biopsy,a blood glucose test"
)
JOBS = _w(
    "teacher,plumber,bus driver,accountant,nurse,farmer,chef,electrician,student,carpenter,lawyer,baker,engineer,"
    "shop assistant,postal worker,retired librarian,software developer,cleaner,musician,hairdresser,pilot,painter"
)
PRODUCTS = _w(
    "router,printer,mobile app,web portal,payment terminal,scanner,thermostat,laptop,headset,coffee machine,camera,"
    "smart meter,tablet,dashboard,sync client,backup agent,door lock,card reader,invoice module,mail gateway"
)
FREQUENCIES = _w(
    "once daily,twice daily,three times a day,four times a day,every 4 hours,every 6 hours,every 8 hours,"
    "every 12 hours,at night,in the morning,once a week,with meals,before meals,as needed,every other day,"
    "twice a week,once a month,BD,TDS,QDS,OD"
)
MONTHS = _w("January,February,March,April,May,June,July,August,September,October,November,December")
SMALL_NUMBERS = _w("two,three,four,five,six,seven,eight,nine,ten,twelve,fourteen,fifteen")
UNITS = _w("days,weeks,months,years,hours,business days,calendar days,minutes,working days")
CONDUCT = _w(
    "in writing,without delay,by registered mail,in good faith,at no charge,on request,before each shift,on site,"
    "in plain language,by electronic means,under supervision,in two copies,within the usual hours,as agreed"
)
