"""Word lists of the guard: negators, opposites, alternatives, units."""

from __future__ import annotations

from typing import Final


def _table(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS: Final = _table(
    """a an the this that these those it its i me my mine we us our you your he him his she her they them their
    am is are was were be been being do does did doing done have has had having will would shall should can could may
    might must of in on at to for from by with about as into than then there here and or but if so just also too very
    really please hi hello hey thanks thank ok okay what which who whom whose when where why how any some such own
    im ive id ill youre its dont doesnt didnt isnt arent wasnt cant couldnt wont wouldnt like want wanted need needed
    know tell get got getting let us still now again back up out s t d ll m re ve"""
)
"""English function words; they carry little of a question's meaning."""

NAMES: Final = frozenset(("US",))
"""Names that are function words in lower case."""

NEGATORS: Final = _table(
    """not no never none nobody nothing nowhere neither nor cannot without unable hardly barely scarcely lack lacks
    lacking impossible fail fails failed failing refuse refuses refused refusing except excluding unless cant dont doesnt didnt isnt
    arent wasnt werent wont wouldnt shouldnt couldnt havent hasnt hadnt aint mustnt neednt mightnt
    nicht kein keine keinen keinem keiner keines nie niemals niemand nichts ohne weder
    pas jamais aucun aucune sans rien personne
    nunca jamás sin ningún ninguno ninguna nada nadie tampoco
    não nunca sem nenhum nenhuma ninguém
    non mai senza nessun nessuno nessuna niente
    niet geen nooit niemand zonder inte ingen inget inga aldrig utan ikke ingen aldri aldrig uden uten
    nie nigdy bez nikt nic не нет без никогда никто ничего нельзя ні немає
    değil yok hiç asla لا ليس لم لن بدون غير לא אין בלי नहीं मत बिना ない ません"""
)
NEGATING_SIGNS: Final = (
    "不",
    "没",
    "沒",
    "未",
    "无",
    "無",
    "别",
    "別",
    "ない",
    "ません",
    "なく",
    "ずに",
    "않",
    "안 ",
    "못",
    "없",
)
"""Negation in scripts without spaces between words; the ideographs count anywhere in a text."""

EMPTY_PHRASES: Final = (("not", "only"), ("no", "doubt"), ("no", "matter"))
"""Phrases whose negator has no negating meaning; they are skipped when negators are counted."""

NOT_KNOWN: Final = _table("know understand find see locate recognize recognise remember recall figure")
"""Verbs with which a writer only introduces a question (`I don't know`). Not `think` or `believe`."""

SUBORDINATING: Final = _table("that which who whom whose because if unless when while although though but and or")
"""Words that begin another clause, whose verb may be the negated one."""

WRITERS: Final = (  # (subject forms, object forms, words next to which the case shows nothing)
    ("ich", _table("mich"), _table("sie du ihr")),
    ("je", _table("me moi m"), _table("vous tu")),
    ("ik", _table("mij"), _table("u je jij jullie")),
    ("jag", _table("mig"), _table("du ni")),
    ("jeg", _table("mig meg"), _table("du")),
    ("я", _table("меня"), _table("вы ты у")),
)
"""The writer by case: `Kann ich meine Frau mitbringen` against `Kann meine Frau mich mitbringen`."""

DETERMINERS: Final = _table("the a an my our your this that these those all any")
"""Words before a participle that specifies its noun."""

AUXILIARIES: Final = _table("can could do did does should would will may might must shall")
"""Verbs that stand before their subject in a question."""

FILLING: Final = _table("to be able really actually quite even seem currently still")
"""Words between `not` and what is negated."""

NUMBER_WORDS: Final = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
        " eighteen nineteen".split()
    )
    if word != "one"  # "the right one", "one of them": more often a pronoun than a number
} | {
    "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
    "ninety": "90", "hundred": "100", "hundreds": "100", "thousand": "1000", "thousands": "1000", "million": "10^6",
    "millions": "10^6", "billion": "10^9", "billions": "10^9", "trillion": "10^12", "dozen": "12", "half": "1/2",
    "halves": "1/2", "third": "1/3|3rd", "thirds": "1/3", "quarter": "1/4", "quarters": "1/4", "quarterly": "1/4",
    "twice": "2x", "double": "2x", "doubled": "2x", "doubles": "2x", "thrice": "3x", "triple": "3x", "tripled": "3x",
    "first": "1st", "fourth": "4th", "fifth": "5th", "sixth": "6th", "seventh": "7th",
    "eighth": "8th", "ninth": "9th", "tenth": "10th",
}  # fmt: skip
"""Numbers in words. Fractions keep their notation: 1/4 does not equal 0.25, because questions are not reworded that way."""

NUMBER_SIGNS: Final = dict(
    zip(
        "二两兩三四五六七八九十百千万萬億亿", "2 2 2 3 4 5 6 7 8 9 10 100 1000 10^4 10^4 10^8 10^8".split(), strict=True
    )
)

UNITS: Final = {
    spelling: spellings[0]
    for spellings in (
        line.split()
        for line in (
            "% percent pct percentage", "usd $ dollar dollars us$ bucks", "eur € euro euros", "gbp £ pound pounds quid",
            "jpy ¥ yen", "inr ₹ rupee rupees", "cent cents ¢", "kg kilo kilos kilogram kilograms kgs", "g gram grams",
            "mg milligram milligrams", "lb lbs", "oz ounce ounces", "t ton tons tonne tonnes", "km kilometer kilometers kilometre kilometres kms",
            "m meter meters metre metres", "cm centimeter centimeters centimetre centimetres", "mm millimeter millimeters millimetre millimetres",
            "mile miles mi", "yard yards yd", "foot feet ft", "inch inches", "l liter liters litre litres", "ml milliliter milliliters millilitre millilitres",
            "gallon gallons gal", "cup cups", "s sec secs second seconds", "ms millisecond milliseconds", "min mins minute minutes",
            "h hr hrs hour hours", "day days", "week weeks wk wks", "month months", "year years yr yrs", "decade decades", "century centuries",
            "kb kilobyte kilobytes", "mb megabyte megabytes", "gb gigabyte gigabytes", "tb terabyte terabytes", "bit bits", "byte bytes",
            "c celsius °c", "f fahrenheit °f", "kelvin", "w watt watts", "kw kilowatt kilowatts", "v volt volts", "hz hertz", "mph", "kmh km/h kph",
            "am a.m", "pm p.m", "bc bce", "ad ce",
        )
    )
    for spelling in spellings
}  # fmt: skip
"""Units, by spelling, which follow a number (a currency may precede it)."""

DATES: Final = {
    spelling: spellings[0]
    for spellings in (
        line.split()
        for line in (
            "monday mondays", "tuesday tuesdays tue tues", "wednesday wednesdays", "thursday thursdays thu thurs", "friday fridays fri",
            "saturday saturdays", "sunday sundays", "january jan", "february feb", "april apr", "june", "july", "august",
            "september sept", "october oct", "november nov", "december dec", "today todays tonight", "tomorrow tomorrows", "yesterday yesterdays",
            "weekend weekends", "weekday weekdays", "spring", "summer", "autumn", "winter", "noon midday", "midnight", "christmas xmas", "easter",
            "heute", "morgen", "gestern", "aujourd'hui", "demain", "hier", "hoy", "mañana", "ayer", "hoje", "amanhã", "ontem", "oggi", "domani", "ieri",
            "сегодня", "завтра", "вчера", "اليوم", "غدا", "أمس", "आज", "कल", "오늘", "내일", "어제", "daily", "weekly", "monthly", "yearly annually annual",
        )
    )
    for spelling in spellings
}  # fmt: skip
"""Days and seasons by spelling; `may`, `march` and `fall` are other words more often."""

DATE_SIGNS: Final = ("今天", "明天", "昨天", "后天", "後天", "前天", "今日", "明日", "昨日", "今年", "明年", "去年", "来年", "來年", "上午", "下午", "早上", "晚上", "午前", "午後", "周一", "周二", "周三", "周四", "周五", "周六", "周日", "月曜", "火曜", "水曜", "木曜", "金曜", "土曜", "日曜")  # fmt: skip

ALTERNATIVES: Final = tuple(
    _table(line)
    for line in (
        "partly partially halfway",
        "almost nearly",
        "completely fully entirely totally wholly",
        "other another else others alternative alternatives additional extra",
        "only solely exclusively",
        "all every everyone everything always",
        "none nobody nothing never",
        "some sometimes something",
        "most mostly usually",
        "few rarely seldom",
        "many often",
    )
)
"""Quantifiers and degrees; `QUANTIFIED` says which must be in both texts or in none."""

QUANTIFIED: Final = frozenset({0, 1, 3})

EXCLUSIVE: Final = tuple(
    _table(line)
    for line in (
        "red orange yellow green blue purple violet pink brown black white grey gray silver gold beige turquoise",
        "north south east west northern southern eastern western northeast northwest southeast southwest",
        "father mother brother sister son daughter uncle aunt nephew niece cousin grandfather grandmother husband wife",
        "breakfast lunch dinner supper brunch", "morning afternoon evening night",
        "dog cat horse cow pig sheep goat bird fish rabbit hamster mouse chicken duck",
        "english spanish french german italian portuguese dutch swedish polish russian chinese japanese korean arabic hindi turkish greek hebrew latin",
        "python java javascript typescript ruby rust golang kotlin swift php perl scala haskell c++ c# matlab fortran cobol sql",
        "windows linux macos android ios ubuntu debian", "pdf docx word excel powerpoint csv json xml html markdown png jpg jpeg gif svg mp3 mp4",
        "visa mastercard amex maestro paypal", "dollar euro pound yen franc rupee peso usd eur gbp jpy chf inr", "debit credit prepaid",
        "beef pork lamb chicken turkey salmon tuna shrimp tofu", "apple banana cherry grape lemon lime mango melon peach pear plum",
        "bus train plane car bike bicycle boat ship taxi subway tram", "mercury venus earth mars jupiter saturn uranus neptune pluto",
        "gas petrol diesel electric hybrid", "phone laptop tablet desktop computer", "physical virtual", "personal business corporate",
        "solid liquid gas plasma", "knee elbow shoulder ankle wrist hip neck", "left right",
        "name address email phone pin password username", "hours minutes seconds days weeks months years",
    )
)  # fmt: skip
"""Alternatives: a question about one word of a line is not a question about another word of it."""

OPPOSITES: Final = """
on/off enable,enabled,enabling,activate,unlock/disable,deactivate,lock,block open,opened/close,closed,shut start,begin/stop,end,finish,quit
start,begin,launch/end,finish,terminate buy,purchase,bought/sell,sold lend,lent/borrow send,sent,sending/receive,received,receiving,get
deposit,deposited/withdraw,withdrew,withdrawal withdraw,withdrawal/top-up,topup add,added,include,insert/remove,delete,drop,exclude,subtract
install/uninstall,remove import/export upload/download increase,raise,grow,rise,gain/decrease,reduce,lower,shrink,fall,drop,lose
more,greater,larger/less,fewer,smaller most,maximum,max,highest,largest,biggest,greatest/least,minimum,min,lowest,smallest above,over/below,under
before,prior,until,till/after,following,since within/after,beyond earlier/later early/late first/last previous,prior/next past/future old,older,oldest/new,newer,newest,young,younger,youngest
big,large,huge/small,little,tiny long,longer,longest/short,shorter,shortest high,higher/low,lower tall,taller/short,shorter wide,broad/narrow thick/thin
deep/shallow heavy/light,lightweight fast,faster,fastest,quick,quickly,quicker/slow,slower,slowest,slowly hot,warm,hotter,warmer/cold,cool,colder,cooler
wet/dry hard,difficult,harder/easy,soft,easier,simple,softer strong,stronger/weak,weaker rich/poor cheap,cheaper,cheapest/expensive,costly,pricey
full/empty good,better,best/bad,worse,worst,poor right,correct,true/wrong,incorrect,false positive/negative safe,secure/dangerous,unsafe,risky
legal,allowed,permitted/illegal,forbidden,prohibited,banned allow,permit,let/forbid,prohibit,ban,prevent,deny,block accept,accepted,approve,approved/reject,rejected,decline,declined,refuse,deny,denied
succeed,success,successful,pass,passed/fail,failure,failed win,won,winner/lose,lost,loser,defeat love,like/hate,dislike agree/disagree
always/never everyone,everybody,all/nobody,none everything/nothing everywhere/nowhere including/excluding,except inside,within,indoor,indoors/outside,outdoor,outdoors
up/down left/right top,upper/bottom,lower front/back,rear forward,forwards,ahead/backward,backwards north,northern/south,southern east,eastern/west,western
enter,entry,entrance,login,log-in/exit,leave,logout,log-out arrive,arrival,come/depart,departure,leave,go push/pull attach,connect,join,link/detach,disconnect,separate,unlink
freeze,frozen/unfreeze,thaw,melt lock,locked/unlock,unlocked subscribe/unsubscribe,cancel mute/unmute show,display,reveal/hide,conceal visible/invisible,hidden
turn-on/turn-off public/private internal/external domestic,local/foreign,international,abroad,overseas import,imports/export,exports input/output
income,revenue,earnings/expense,expenses,cost profit,gain/loss asset/liability credit/debit debtor/creditor employer/employee teacher/student
doctor/patient buyer,customer/seller,vendor landlord/tenant parent/child male,man,men,boy,husband,father,he,his,him/female,woman,women,girl,wife,mother,she,her
day,daytime/night morning/evening,night sunrise/sunset summer/winter summers/winters alive,living/dead born,birth/died,death,die wake,awake/sleep,asleep
even/odd single/married,multiple,double single/multiple plural/singular major/minor senior/junior active/inactive,passive online/offline
manual,manually/automatic,automatically temporary,temporarily/permanent,permanently optional/mandatory,required,compulsory acid,acidic/alkaline,basic
create,make,build,construct/destroy,delete,demolish compress,zip/decompress,unzip,extract encrypt/decrypt encode/decode serialize/deserialize lend/borrow
ascending,ascend/descending,descend horizontal,horizontally/vertical,vertically convex/concave encourage/discourage praise/criticize cause/cure,effect prevent/cause
save/spend,delete,waste spend/save,earn earn/spend pay/refund charge,charged/refund,refunded,discharge remember/forget find,found/lose,lost hire,hired/fire,fired
attack/defend advantage,advantages,pros,benefit,benefits/disadvantage,disadvantages,cons,drawback,drawbacks strength,strengths/weakness,weaknesses similarity,similarities/difference,differences
same,equal,identical/different,unequal healthy/sick,ill,unhealthy happy,glad/sad,unhappy clean/dirty sharp/dull,blunt smooth/rough raw/cooked fresh/stale,rotten
sour/sweet loud/quiet,silent bright,light/dark,dim tight/loose near,nearby,close/far,distant ancient/modern natural/artificial real,genuine/fake
odd/normal common/rare,uncommon usual/unusual include,includes/exclude,excludes expand/collapse,contract extend/shorten,retract zoom-in/zoom-out
master/slave client/server host/guest predator/prey upstream/downstream inbound,incoming/outbound,outgoing sync/async synchronous/asynchronous
lossy/lossless mutable/immutable static/dynamic verified,verify/unverified sender/recipient,receiver,beneficiary
virtual/physical debit/credit fiat/crypto weekday/weekend upgrade/downgrade promote/demote appear/disappear continue,resume/pause,stop,discontinue
replace/keep,retain keep,retain/discard,throw accelerate,speed/brake,decelerate inflate/deflate inhale/exhale pros/cons plus/minus add/subtract multiply/divide
heterozygous/homozygous benign/malignant chronic/acute hypertension/hypotension hyper/hypo dominant/recessive
"""
"""Opposites, `these/those` separated by spaces; words of one side are separated by commas."""

NEGATING_PREFIXES: Final = ("un", "in", "im", "il", "ir", "dis", "non", "mis", "de", "non-", "anti", "anti-")
"""Prefixes that negate a word of four letters or more, if the other text has that word without the prefix."""

STARTS: Final = {"why": "why", "when": "when", "who": "who", "where": "where"}
HOW: Final = {
    "long": "how long", "much": "how much", "many": "how many", "often": "how often", "far": "how far", "old": "how old",
    "soon": "when", "come": "why", "frequently": "how often", "big": "how big", "large": "how big", "tall": "how tall",
    "fast": "how fast", "expensive": "how much", "late": "when", "early": "when",
}  # fmt: skip
"""Question words, and what `how` asks with the word after it."""

ASKING: Final = _table(
    "tell me know explain understand wonder wondering ask see describe so and but then about exactly idea determine out"
)
"""Words after which a question word asks; elsewhere `when` and `where` only join clauses."""

IDENTITY: Final = _table("who what which where whats whos wheres")
"""Question words for a person or thing: `who was` and `who is` ask for different ones."""

MOVABLE: Final = _table("i me you we us")
"""Pronouns that count as ends of a direction although they are stop words."""

YES_NO: Final = _table("is are am was were do does did can could will would should has have had may")
AUXILIARY: Final = YES_NO | _table("might must")
PERSONS: Final = _table("i we you one they he she it")
SPANS: Final = _table("days weeks months hours minutes years seconds")
PERIODS: Final = _table(
    "day week weekend month quarter year decade century hour minute morning afternoon evening night spring summer autumn"
    " winter season semester term monday tuesday wednesday thursday friday saturday sunday time days weeks months years"
)
"""Periods of time, with `last`, `this` and `next`."""

OPENERS: Final = _table("hi hello hey please so and but well ok okay also just then")
PAST: Final = _table("did was were had")
FUTURE: Final = _table("will shall gonna")
DIRECTED: Final = {
    "to": "to", "into": "to", "onto": "to", "from": "from", "than": "than", "over": "than", "versus": "than",
}  # fmt: skip
"""Words between two things whose order matters."""
