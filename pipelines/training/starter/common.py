"""Ordinary words of regulated text: they get a token each, and fill passages with sentences that answer nothing."""

from __future__ import annotations

COMMON: tuple[str, ...] = tuple(
    """
a able about above accept access according accordance account accounts accrued accurate acquired act action actions active
actual addition additional address adequate adjusted adjustment administration adult advance advertisement advice affected
after again against age agency aggregate agree agreed agreement all allow allowed alone already also alternative although
always amended amendment among amounts analysis and another any appear applicable application applied apply appointment
appropriate approval approved are area arising arrange arrangement arrears article as ask assessment assigned assist associated
assume at attached attempt authorities authority authorized automatic available average away back bailment balloon bank based
basis be because been before began begin behalf being believe below benefit benefits between beyond bill billing binding bit
bleeding blood board body both bottom bought bound bowel branch breach breathing bring broken brought bureau business but
by calculated calculation calendar call called can cannot capacity capitalized car care carried case cases cash cause caused
caused ceiling certain change changed changes charged charges chart check child children choice city civil claim class clause
clean clear clearly clerical clinic clinical close coffee cold collected collection combined come comes commentary commercial
commission commitment committee common communication community company compare complaint complete completed compliance comply
component computed computer concern concerning condition conditions conduct connection consent consider considered consistent
consists constitute construction consultation consume consumer consumption contact contain contained contains content
continue continued contractual control convenience conversion copies copy corporation correct corrected cost costs cough could
count country course court cover coverage covered created credit criteria currency current currently customer customers daily
damage data date dates day days deal debt decided decision declined decrease deducted deduction default defect deferred defined
degree delay delayed delinquent delivered delivery demand denied department depend deposited depreciation describe described
description design details determine determined determining develop development device diet difference different direct
directly disability disclosed disclosures discomfort discount discuss discussed disposition dispute disputed distribution do
doctor does doing done dose doubt down driver drug due during duties duty each earlier early earners ears easily eat economic
effect effective effects either elderly elect electronic element eligible else email emergency employee employees employment
empty enable end ended ending ends energy enforcement enough ensure enter entire entity entry equal equals equivalent error
errors especially established estate estimate estimated etc evaluation even event events ever every evidence examination
examined example exceed exceeding exceeds except exception excess exchange excluded exclusive executed exempt exemption exercise
exists expect expected expense expenses explain explained express extended extension extent eye eyes face facility fact factor
factors failed failure fair family federal feel feeling feels felt few figure filed final finance financial financing find
finding fine first five fixed floor fluid fluids follow followed following follows food for force form former forms forward
found four free frequency frequent friend from front full fully function fund further future gain general generally give given
gives giving go going good goods government grade granted great greater gross ground group growth guarantee guidance had half
hand hands handled happen has have having he head health hear heard heart heavy held help her here high higher his history hold
holder home hospital hour hours house household how however if illness immediate immediately important imposed in inch include
included includes including income increase increased increases increment increments independent index indicate indicated
individual individuals industry information initial injury inquiry inside instance instead institution instructions instrument
insurance intended interest interests internal into investment invoice involved is issue issued issues it item items its itself
job joint keep kept kind know known lack large larger last late later law laws leads lease leased leases leasing least left legal
length less lessees let letter level levels liability liable license lien life light like likely limit limitation limited
limits line list listed little live lived lives loan loans local located location long longer look loss lost low lower lump
made mail main maintain maintained maintenance major make makes making man management manager manner many mark market material
materials matter maximum may mean meaning means measure measured medical medication medications meet meeting member members
method might mild mileage minimum minor minute minutes miss missed moderate modified moment money month monthly months more
morning mortgage most mother motor move much multiple must name named natural nature near nearest necessary need needed needs
negotiated net network never new next night nil no non none nor normal normally not noted notes nothing notices notified notify
notwithstanding now number numbers obligation obligations obtain obtained occupation occur occurred occurs of off offer offered
office officer official often old on once one ongoing only onset open opened operating operation opinion option optional or
oral order ordered orders ordinary organization original other others otherwise our out outside outstanding over overall own
owned owner ownership page paid pain parents part partial participating particular parties party pass passed past patient
patients pay payable paying payments penalties pending people per percent percentage perform performance performed period
periodic periods permit permitted person personal persons phone place placed plan plans please point points policies policy
portion position possession possible posted practice preceding prepared prescribed present presented preserve prevent previous
price primarily primary principal print prior private probably problem problems procedure procedures process processing produce
product production products professional program prohibited promptly proper property proposed protect protection prove provided
provider provides provision provisions public published purchase purchased purpose purposes pursuant put qualified quality
quarter question questions quickly quite raised range rates rather reach read ready real realized reason reasonable reasonably
receipt receive received recent recently recommend recommended record recorded records recover red reduce reduced reduction
refer reference referred reflect reflects refund refused regard regarding regardless region regular regularly regulation
regulations related relating relation release released relevant relief remain remaining remains remove removed rent rental
repair repairs repayment replaced reported reporting reports represent request requested requests require required requirement
requirements requires residence residual resolve respect response responsible rest result resulting results return returned
returns review reviewed right rights rise risk risks room rounded rounding routine rule rules run safe safety said sale sales
same sample satisfied save schedule scheduled school sealed second secondary section sections secured security see seen segregated
sell selling send sense sent separate separately series serious served service services set settlement seven several severe
shall share she short should show showed shown shows side sign signature signed significant similar simple since single site six
size skin sleep slightly small smoke smoker smoking so social sold sole some something soon source special specific specified
specify staff stage standard standards start started starts state stated statement statements states status statutory stay step
still stop stopped store stress strong student study subject subparagraph subsection subsequent substantial such suffer suggest
suitable sum summary supplied supply support supported sure surgery surrender system systems table take taken takes taking tax
taxes team technical telephone tell temporary ten term terminate terminated termination terms test tested tests than that the
their them then there thereafter these they thing think third this those though three through throughout time times timing tired
title to today together told took top total toward trade transaction transactions transfer transferred treat treated treatment
trial trigger trust try turn twelve two type types unable under understand unearned unexpected unit units unless unpaid until
up upcoming update updated upon urban urine us usage use used user users uses using usual usually valid value values variable
various vehicle verified version very via view visit voluntary wage wages wait walk want was water way we weather week weekly
weeks weight well were what when where whether which while white who whole whom whose why wide will with within without woman
word work worked worker workers working works worse worsening would wrist write writing written wrong year yearly years yes
yesterday yet you young your
""".split()  # noqa: SIM905
)
