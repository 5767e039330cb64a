"""What is known of English questions, as data: how people begin, which words must be the same, which mean the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final


def _table(text: str) -> Mapping[str, str]:
    """Each word of a line -> the first word of that line."""
    return {word: line.split()[0] for line in text.strip().splitlines() for word in line.split()}


# Stand-ins that keep the patterns below readable.
_STANDS_FOR: Final = {
    "<IS>": "(?:is|are|was|were)",
    "<WHAT>": "(?:what|which)",
    "<CAN>": "(?:can|could|will|would)",
    "<YOU>": "(?:you|someone|anyone|somebody|anybody)",
    "<USUAL>": "(?:usual|typical|average|expected|total)",
    "<GOOD>": "(?:best|easiest|simplest|fastest|quickest|cheapest|safest|surest|healthiest|right|correct|proper|good|great"
    "|possible|different|various|most efficient|effective|ideal|quick)",
}


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern with an alternative on each line."""
    for name, meaning in _STANDS_FOR.items():
        text = text.replace(name, meaning)
    return re.compile("|".join(text.strip("\n").splitlines()))


def _frames(text: str) -> Sequence[tuple[str, re.Pattern[str]]]:
    """Lines with a kind of question, each followed by the indented alternatives that tell it."""
    kinds = re.split(r"\n(?=\S)", text.strip("\n"))
    return [
        (kind, _pattern("\n".join(line.strip() for line in rest))) for kind, *rest in (k.split("\n") for k in kinds)
    ]


def _replacements(text: str) -> Sequence[tuple[re.Pattern[str], str]]:
    """Lines of `pattern -> replacement`; the marks around a replacement are not part of it."""
    pairs = (line.split(" -> ") for line in text.strip("\n").splitlines())
    return [(_pattern(pattern), by[1:-1]) for pattern, by in pairs]


# How people begin before they ask.
POLITE: Final = re.compile(
    "^(?:"
    + _pattern(r"""
(?:hi|hello|hey|please|ok|okay|so|and|well|excuse me|sorry|thanks|kindly)\b[ ,.!]*
<CAN> <YOU> (?:please |kindly )?(?:tell|show|explain to|advise|inform|remind) (?:me|us)\b ?(?:about )?
<CAN> <YOU> (?:please |kindly )?(?:explain|describe|clarify)\b ?
(?:please )?(?:tell|show|remind|inform) (?:me|us) (?:about )?
(?:please )?explain (?:to (?:me|us) )?
(?:do|does|did) (?:you|anyone|anybody|someone) (?:happen to )?know\b ?
i (?:was|am) (?:just )?(?:wondering|curious)\b ?(?:about )?
i (?:would like|want|need|wish|d like) to (?:know|find out|understand|learn)\b ?
(?:may|can|could) i (?:know|ask)\b ?
any idea\b ?(?:on |about )?
i do not (?:know|understand)\b ?
""").pattern
    + ")+"
)

# What makes which kind of question. Whichever stands first in the question decides; of two, the upper one here.
FRAMES: Final = _frames(r"""
how long
    \bhow long\b(?: of)?(?: a time)?(?: (?:does|do|will|would|did|is|can|should) it (?:usually |typically |normally |generally )?(?:take|takes)\b)?
    \b(?:how much|how many) time\b(?: (?:does|do|will|would|did) it (?:take|takes)\b)?
    \bwhat <IS> the (?:<USUAL> )?(?:duration|length of time|time ?frame|time it takes)\b
    \bfor how long\b
how often
    \bhow (?:often|frequently)\b
    \bhow many times\b
    \b(?:what is|at what) (?:the )?frequency\b
how many
    \bhow many\b
    \b(?:what <IS> )?the (?:total )?(?:number|count) of\b
    \bwhat number of\b
    \b<WHAT> quantity of\b
how much
    \bhow much (?:does|do|did|will|would|is|are|was|were)\b(?=.*\bcosts?\b)
    \bwhat <IS> the (?:price|prices|cost|costs) (?:of|for)\b
    \bhow (?:expensive|costly) <IS>\b
    \bhow much (?=is|are|do i pay|must i pay)
    \bwhat (?:does|do) (?=.* costs?\b)
amount
    \bhow much\b
    \bwhat (?:amount|quantity) of\b
how far
    \bhow far\b
    \bwhat <IS> the distance\b
how old
    \bhow old\b
    \bwhat <IS> the age of\b
how big
    \bhow (?:big|large|tall|high|wide|deep|heavy|fast|hot|cold|close|likely|good|bad|safe|hard|difficult|easy|important|effective)\b
why
    \bwhy\b
    \bhow come\b
    \bfor what reason\b
    \bwhat <IS> the (?:main |exact )?(?:reasons?|causes?)(?: (?:that|why|for|behind|of))?\b
    \bwhat (?:causes?|caused)\b
year
    \b(?:(?:in|on|at|during|since|by) )?<WHAT> year\b
    \bwhat <IS> the year (?:of|when|that|in which)\b
month
    \b(?:(?:in|during|since|by) )?<WHAT> (?:month|season|quarter)\b
century
    \b(?:(?:in|during|since|by) )?<WHAT> (?:century|decade|era)\b
date
    \b(?:(?:on|by|since) )?<WHAT> (?:date|day)\b
    \bwhat <IS> the date (?:of|when|that|on which)\b
time
    \b(?:at )?what time\b
    \bwhat <IS> the time (?:of|when|that|at which)\b
when
    \b(?:by )?when\b
    \bwhat <IS> (?=the (?:\w+ )?(?:deadline|due date|cut-?off|expiry|expiration))
    \bat what point(?: in time)?\b
    \bhow soon\b
where
    \bwhere(?:abouts)?\b
    \b(?:in|at|to|from) <WHAT> (?:place|location)\b
    \b<WHAT> (?:place|location)\b
    \bwhat <IS> the location of\b
whose
    \bwhose\b
who
    \bwho\b
    \bwhom\b
    \b<WHAT> (?:person|people|individual)\b
how
    \bhow (?:do|does|did|can|could|should|would|may|might|must|to|will|shall|is it possible to|might|am i able to|are)\b
    \b<WHAT> (?:is|are|was|would be|were) (?:the |a |some |some of the )?(?:of the )?(?:<GOOD> )*(?:ways?|methods?|steps?|process|procedure|means|tips?)\b(?: (?:to|of|for|in which|that|i can|can i|you can|by which|one can))?
    \bhow (?:do|can) i go about\b
    \bwhat (?:do|should|must|can|does) (?:i|you|we|one) (?:must |need to |have to )?do (?:to|if i want to|for)\b
    \bwhat (?:does it take|do i must do|do i need to do|steps (?:do|must|should|can) (?:i|you) (?:must )?(?:take|follow)) to\b
    ^(?:steps|ways?|instructions|guide|help) (?:to|for|on|with|me)\b
    ^i (?:(?:want|need|would like|am trying|try|wish|have) to|must)\b
    ^<CAN> you (?:please )?help (?:me|us)(?: to| with)?\b
    ^(?:is there|are there) (?:a|any|some) (?:good |easy |simple |quick )*(?:way|method)s? (?:to|for|of|i can|that)\b
    \bhow\b
what
    \b<WHAT>\b(?: (?:type|kind|sort)s? of)?
whether
    ^(?:if|whether|is|are|am|was|were|do|does|did|can|could|will|would|should|shall|may|might|must|has|have|had)\b
    \bwhether\b
""")  # noqa: E501
KINDS_ALIKE: Final = {
    frozenset(pair) for pair in (("how much", "amount"), ("when", "year"), ("when", "date"), ("when", "time"))
}
MODAL: Final = _table("""
can could able possible may might allowed permitted permissible
must should need have required necessary mandatory obligatory obliged ought shall
""")

# One way of saying it, in this order.
SPELLED_OUT: Final = _replacements(r"""
\bwon't\b -> 'will not'
\bwont\b -> 'will not'
\bcan't\b -> 'can not'
\bcant\b -> 'can not'
\bcannot\b -> 'can not'
\bshan't\b -> 'shall not'
\b(do|does|did|is|are|was|were|has|have|had|would|should|could|must|need)n't\b -> '\1 not'
\b(do|does|did|is|are|was|were|has|have|had|would|should|could)nt\b -> '\1 not'
\b(what|who|where|when|how|why|that|there|it|he|she)'s\b -> '\1 is'
\bwhats\b -> 'what is'
\blet's\b -> 'let us'
're\b -> ' are'
\bi'm\b -> 'i am'
\bim\b -> 'i am'
've\b -> ' have'
'll\b -> ' will'
'd\b -> ' would'
's\b -> ''
'(?=\s|$) -> ''
\bgoing to\b -> 'will'
\bgonna\b -> 'will'
\be-mail -> 'email'
\bwi-fi\b -> 'wifi'
\blog[ -](in|on|out|off)\b -> 'log\1'
\bsign[ -](in|up|out)\b -> 'sign\1'
\bu\.s\.a?\.?(?=\W|$) -> 'us_'
\bunited states(?: of america)?\b -> 'us_'
\busa\b -> 'us_'
\bunited kingdom\b -> 'uk_'
\bu\.k\.?(?=\W|$) -> 'uk_'
\bgreat britain\b -> 'uk_'
\buk\b -> 'uk_'
\beuropean union\b -> 'eu'
\bunited nations\b -> 'un_'
\bmoney back\b -> 'refund'
\bmost recent\b|\blatest\b|\bnewest\b -> 'last'
\bleast expensive\b -> 'cheapest'
\bstaff members?\b -> 'staff'
\bcustomer (?:service|support|care)\b -> 'customercare'
\bis it (?:advisable|recommended|a good idea|wise|sensible) (?:for me )?to\b -> 'should i'
\b(?:prior|previous) to\b -> 'before'
\bget rid of\b -> 'remove'
\bwhat <IS> the (?:<USUAL> )?(delivery|shipping|processing|waiting|response|travel|flight|cooking|recovery|turnaround) times?\b -> 'how long does \1 take'
\b(?:per|each|every|a) (day|week|month|year|hour|minute|night)\b -> 'per_\1'
\bbetween (\w+) and (\w+)\b -> 'of \1 and \2'
\b(?:more than|over|above|greater than|older than|longer than|higher than|exceeding) (?=[$€£]?\d) -> 'morethan '
\b(?:less than|fewer than|under|below|younger than|shorter than|lower than) (?=[$€£]?\d) -> 'lessthan '
\bwho <IS> the (?:author|writer) of\b -> 'who wrote'
\bsecond world war\b -> 'ww_two'
\bworld war (?:ii|2|two)\b -> 'ww_two'
\bfirst world war\b -> 'ww_first'
\bworld war (?:i|1|one)\b -> 'ww_first'
\b(?:switch|switched|switching)\b(?= (?:on|off)\b) -> 'turn'
\bturn on\b -> 'enable'
\bturn off\b -> 'disable'
\bhow high <IS> (?=the (?:\w+ ){0,3}(?:rates?|fees?|prices?|costs?|levels?|limits?|temperatures?|salary|salaries|taxe?s?|scores?)\b) -> 'what is '
\b(?:how (?:high|tall) <IS>|what <IS> the heights? of)\b -> 'what is dim_height of'
\b(?:how (?:big|large) <IS>|what <IS> the sizes? of)\b -> 'what is dim_size of'
\b(?:how long <IS>|what <IS> the lengths? of)\b -> 'what is dim_length of'
\b(?:how heavy <IS>|how much (?:does|do|did)(?= .*\bweigh\b)|what <IS> the weights? of)\b -> 'what is dim_weight of'
\b(?:how fast <IS>|what <IS> the (?:top )?speeds? of)\b -> 'what is dim_speed of'
\b(?:how deep <IS>|what <IS> the depths? of)\b -> 'what is dim_depth of'
\b(?:what (?:happens|will happen|would happen) if|what (?:are|is) the consequences? (?:of|if))\b -> 'what happens if'
\bfind out\b -> 'find'
\bfigure out\b -> 'find'
\bhow <IS> (.{1,60}?) (?:different|distinct) from\b|\bhow (?:does|do|did) (.{1,60}?) differ from\b -> 'what is the difference of \1\2 and'
\b(one|two|three|four|five|six|seven|eight|nine|ten|\d+)-(?=year|month|week|day|hour|minute) -> '\1 '
\bno longer\b -> 'not anymore'
\bat least\b -> 'atleast'
\bno less than\b -> 'atleast'
\bminimum\b -> 'atleast'
\bat most\b -> 'atmost'
\bno more than\b -> 'atmost'
\bup to\b -> 'atmost'
\bmaximum\b -> 'atmost'
\bmore than\b -> 'morethan'
\bgreater than\b -> 'morethan'
\b(?:less|fewer) than\b -> 'lessthan'
\bphone number\b -> 'phonenumber'
\bhave to\b -> 'must'
\bhas to\b -> 'must'
\bneed to\b -> 'must'
\bcall(?:ed)? off\b -> 'cancel'
\bset up\b -> 'setup'
\bwithout (?:paying|charge)\b -> 'free'
\bfor free\b -> 'free'
\bfree of charge\b -> 'free'
\bas well as\b -> 'and'
\balong with\b -> 'and'
\bin order to\b -> 'to'
\bso as to\b -> 'to'
\bprior to\b -> 'before'
\bsubsequent to\b -> 'after'
\blook(?:ing)? for\b -> 'find'
\bmade up of\b -> 'consist'
\bcomposed of\b -> 'consist'
\bmade of\b -> 'consist'
""")  # noqa: E501

# Never compared: they carry grammar. What they change is compared elsewhere (kind, tense, role).
GRAMMAR: Final = frozenset("""
any a an the between this that these those it its is are am was were be been being do does did done doing have has had having
will would shall can could may might to of in on at by for with from about into onto upon through via as than during within i me
my mine myself you your yours yourself we us our ours they them their theirs one ones someone anyone somebody anybody people
person and or so if then there here what which who whom whose when where why how while also too just really actually currently
exactly please kindly possible possibly able way ways thing things kind type go must should need needs needed required necessary
allowed permitted considered known called typically usually generally normally commonly often likely approximately around s t d
m re ve ll ok okay etc ever even own such some certain specific particular both
""".split())  # fmt: skip

# Compared word for word, as often as they occur: a question with another of these is another question.
SHARP: Final = _table("""
not never no none neither nor nobody nothing nowhere cannot unable
without
all every each everyone everything everybody entire whole
only solely exclusively
most
least
more
less fewer
morethan
lessthan
atleast
atmost
before
after
until till
since
except besides excluding
against
instead
under below beneath
over above beyond
off
out
up
down
first
last
next
previous
early earlier earliest
late later latest
he his him himself
she her hers herself
half
twice double
triple
than
unless
because
anymore
again
already
yet
still
other another else
new
old
always
sometimes
""")  # fmt: skip
NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        "zero _ two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty".split()
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
     "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "dozen": "12",
     "third": "3", "fourth": "4", "fifth": "5", "tenth": "10"}  # fmt: skip

# Words that may stand for each other. Only such as mean the same in nearly every question.
SYNONYMS: Final = _table("""
buy purchase order acquire
cancel terminate annul
refund reimburse reimbursement
deliver delivery ship shipping shipment dispatch
start begin commence
finish end complete conclude
big large huge
bigger larger
biggest largest
small little tiny
phone telephone mobile cellphone smartphone
car automobile vehicle
fix repair mend troubleshoot
error mistake fault
price cost fee charge
help assist assistance aid support
change modify alter edit amend update
delete remove erase eliminate
fast quick quickly rapid rapidly speedy
child kid
job employment
movie film
doctor physician
picture photo photograph image pic
choose select pick choice
company firm business corporation
lawyer attorney
parcel package
trip journey
vacation holiday
shop store
happen occur
show display
get obtain receive
create make build produce construct
improve enhance boost better
increase raise maximize
reduce decrease lower lessen
locate find
answer reply respond response
question query
ask inquire
allow permit let permission
reach contact
forget forgot
lose lost misplace misplaced loss
steal stolen
password passcode
register signup enroll enrol registration
login logon signin
logout logoff signout
area region
close shut
learn study
work function operate
broken defective faulty damaged
free complimentary
want wish desire
think believe
famous renowned
main primary principal chief major
important significant crucial vital essential
hard difficult
easy simple
rich wealthy
hotel accommodation
city town
road street
speak talk
salary wage
name title
reason cause
effect impact consequence
goal aim objective purpose
advantage benefit pro
disadvantage drawback con
difference distinction differ distinguish
example instance
located situated
verify confirm
complain complaint
suggest propose recommend
responsible accountable
die death dead
eligible qualify
approve accept
cover include
document paperwork
luggage baggage
staff employee worker personnel
house home
spouse partner
old previous
recent last latest
revenue turnover
dinner supper
pc computer
convert turn transform conversion
valid effective
born birth
marry marriage married
live reside
quit leave resign
weird strange odd
funny hilarious
scared afraid
smart intelligent clever
stop prevent
best top greatest
transfer move
pay payment
apply application
renew renewal
arrive arrival
subscribe subscription
install installation
weigh weight
grow growth
decide decision
sell sale
withdraw withdrawal
treat treatment
require requirement
expire expiration expiry
submit submission
analyze analyse analysis
compare comparison
recognise recognize identify
behave behaviour behavior
fail failure
""")
# Opposites and neighbours whose vectors are near each other: each has only itself and its synonyms.
APART: Final = frozenset("""
buy sell purchase lend borrow lender borrower employer employee husband wife father mother son daughter brother sister man woman
men women boy girl male female uncle aunt king queen prince princess second minute hour day week month year decade century daily
weekly monthly yearly annual quarter quarterly monday tuesday wednesday thursday friday saturday sunday january february march
april june july august september october november december spring summer autumn fall winter morning afternoon evening night noon
midnight today tomorrow yesterday red blue green yellow black white brown orange purple pink grey gray gold silver bronze
platinum north south east west northern southern eastern western left right upper lower top bottom front back enable disable
activate deactivate open close lock unlock upload download import export deposit withdraw withdrawal increase decrease raise
maximum minimum max min gain lose win start stop begin end first last enter exit arrive depart arrival departure credit debit
send receive give take push pull hire fire accept reject refuse approve deny allow forbid login logout signup signin signout
install uninstall subscribe unsubscribe connect disconnect hot cold warm cool fast slow good bad best worst better worse high
low tall short long big small large little heavy light hard soft easy difficult rich poor young old new safe dangerous cheap
expensive strong weak wet dry early late full empty public private internal external domestic foreign national international
local global personal commercial mile kilometer kilometre km meter metre inch foot feet yard pound kilogram kg gram ounce liter
litre gallon celsius fahrenheit gb mb kb tb percent dollar euro yen rupee cent bitcoin breakfast lunch dinner coffee tea beer
wine cat dog horse bird cow pig android iphone ios windows mac linux visa mastercard paypal email phone sms fax letter advantage
disadvantage benefit drawback cause effect love hate positive negative plus minus odd even teacher student doctor nurse patient
customer seller buyer tenant landlord parent child adult plaintiff defendant create delete add remove exclude encrypt decrypt
encode decode compress sunrise sunset birth death born die marriage divorce war peace heaven hell ocean sea river lake mountain
earth moon sun mars venus jupiter saturn bachelor master phd undergraduate graduate similarity difference similar different
alive dead true false always never presence absence england scotland wales ireland france germany italy spain portugal sweden
norway denmark finland poland russia china japan india pakistan korea vietnam thailand australia canada mexico brazil america
europe asia africa larger smaller bigger longer shorter higher taller hotter colder warmer cooler faster slower older younger
richer poorer cheaper heavier lighter harder softer easier stronger weaker deeper shallower wider narrower nearer farther closer
largest smallest biggest longest shortest highest lowest tallest hottest coldest fastest slowest oldest youngest richest poorest
cheapest heaviest lightest hardest softest easiest strongest weakest deepest widest nearest farthest closest same throw catch
loss losing winning reach leave behind ahead lead trail ask answer question username legal illegal possible impossible able
unable paid unpaid likely unlikely usual unusual
""".split())  # fmt: skip
# Words that add little: one side may have them and the other not.
LIGHT: Final = frozenset("""
best good great top actual various possible exact certain easy simple current usual typical proper right correct fellow dear
thank option detail information info procedure method step tip way give provide describe explain find know tell see look need
want help try make take come happen consider today now nowadays world receive obtain get expect available apply use offer
contain include
""".split())  # fmt: skip

PAST: Final = frozenset("did was were had".split())
PRESENT: Final = frozenset("do does is are am".split())
PREPOSITIONS: Final = frozenset(
    "to from of by with for in on at about into onto through via during within against between than".split()
)
ROLES_ALIKE: Final = _table("""
in on at during within
of for about
by via through with
to into onto
""")
BREAKS: Final = frozenset(
    "and or but if then while because , ; : ? . ! is are was were do does did can could will would should has have had "
    "what which who whom whose when where why how that".split()
)
CURRENCY: Final = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "%": "percent", "rs": "rupee"}

# Forms that a stemmer does not know.
IRREGULAR: Final = {form: line.split()[0] for line in """
buy bought
get got gotten
sell sold
send sent
pay paid
make made
come came
take took taken
give gave given
find found
lose lost
win won
begin began begun
catch caught
throw threw thrown
leave left
tell told
write wrote written
grow grew grown
run ran
speak spoke spoken
choose chose chosen
know knew known
keep kept
build built
mean meant
meet met
spend spent
teach taught
think thought
bring brought
steal stole stolen
break broke broken
drive drove driven
eat ate eaten
fall fell fallen
fly flew flown
go went gone
see saw seen
sing sang sung
drink drank drunk
wear wore worn
forget forgot forgotten
hold held
hear heard
feel felt
fight fought
lead led
lend lent
rise rose risen
shake shook
sit sat
sleep slept
stand stood
strike struck
swim swam
wake woke
child children
man men
woman women
person people
foot feet
tooth teeth
mouse mice
life lives
wife wives
""".strip().splitlines() for form in line.split()}  # fmt: skip
