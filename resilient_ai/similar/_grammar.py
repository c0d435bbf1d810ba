"""Function words by language: those without influence on the meaning of a question, and those with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Grammar:
    """
    The function words of one language.

    Attributes:
        empty: Articles, auxiliaries, pronouns, question words, polite words: left out of a comparison.
        weak: Interchangeable prepositions.
        strong: Prepositions and particles with distinct meanings.
        groups: Other mutually exclusive words, by word: kind and member.
    """

    empty: frozenset[str]
    weak: frozenset[str]
    strong: frozenset[str]
    groups: dict[str, tuple[str, str]]


def _groups(text: str) -> dict[str, tuple[str, str]]:
    """Parse lines `kind: one,other / third`, in which the words between slashes exclude each other."""
    found: dict[str, tuple[str, str]] = {}
    for line in text.strip().splitlines():
        kind, _, members = line.partition(":")
        for member in members.split("/"):
            words = member.replace(",", " ").split()
            found.update((word, (kind.strip(), words[0])) for word in words)
    return found


ENGLISH: Final = Grammar(
    empty=_words(
        """a an the that these those it its itself there here such own
        am is are was were be been being do does did doing done have has had having will would shall should can could may
        might must ought cant wont dont doesnt didnt isnt arent wasnt werent wouldnt shouldnt couldnt havent hasnt hadnt
        gonna im ive ill id youre theres whats wheres hows lets
        what which who whom whose when where why how whether if because then than so just also too very really quite
        rather actually basically simply exactly currently now still again ever yet maybe perhaps
        please kindly hi hello hey dear thanks thank ok okay well oh um yes quick question
        need needed needs like know tell wonder wondering possible able
        get gets got getting make makes made making way help one ones thing things s t d ll m re ve"""
    ),
    weak=_words("to into onto in on at of for by with as per via upon"),
    strong=_words(
        """before after during until since while despite except against versus between below above behind off out
        inside near from through across along around towards beyond up down about over under"""
    ),
    groups=_groups(
        """
        amount: all,every,each,everyone,everybody,everything,always / any,anyone,anything,either,anybody,whichever / some,several,someone,somebody,something,sometimes / many,much,lots,plenty,often / few,rarely,seldom / mostly,usually / both / only,solely,merely
        person: i,me,my,mine,myself,we,us,our,ours,you,your,yours,u,ur,yourself / he,him,his / she,her,hers / they,them,their,theirs
        link: and,& / or
        degree: more / less / most / least
        time: last,previous,past / next,coming,following,upcoming / this,current
        will: want,wants,wanted,wish / let,lets,allow,allows,allowed
        """
    ),
)

_SAME: Final = {
    "till": "until", "till.": "until", "beneath": "below", "underneath": "below", "under": "below", "over": "above",
    "among": "between", "amongst": "between", "vs": "versus", "outside": "out", "within": "inside", "beside": "near",
    "next": "next", "toward": "towards", "regarding": "about", "concerning": "about", "round": "around",
}  # fmt: skip
"""Prepositions of one meaning."""

OTHERS: Final = {
    "de": Grammar(
        empty=_words(
            """der die das den dem des ein eine einen einem einer eines dies diese dieser dieses diesen es
            ich mich mir mein meine meinen meinem meiner du dich dir dein deine deinen wir uns unser unsere unseren ihr euch
            euer sie ihnen ihre ihren ihrem er ihm man sich
            bin bist ist sind seid war waren sein habe hast hat haben hatte hätte werde wird werden wurde würde kann kannst
            könnt können könnte könnten könntest darf darfst dürfen soll sollte sollen muss müssen möchte möchten will wollen
            wie was wer wen wem wo wann warum wieso weshalb welche welcher welches welchen wenn ob dass weil
            bitte danke hallo mal denn doch noch schon auch so nur etwa genau eigentlich gerade jetzt dann da
            gib gibt geben sag sagen zeig wissen machen mache mach tun"""
        ),
        weak=_words("in im ins an am ans auf bei beim zu zum zur für mit von vom als per via nach"),
        strong=_words("vor während bis seit trotz gegen zwischen unter über hinter neben aus ab außer innerhalb um"),
        groups=_groups("link: und / oder"),
    ),
    "fr": Grammar(
        empty=_words(
            """le la les l un une d ce cet cette ces c ça cela il elle on je j me m moi mon ma mes tu te t toi ton ta tes nous
            notre nos vous votre vos ils elles leur leurs se s son sa ses y en
            suis es est sommes êtes sont était être ai as a avons avez ont avoir puis peux peut pouvons pouvez peuvent
            pourrais pourrait pouvoir dois doit devons devez devoir veux veut voudrais vouloir vais va allons allez faut faire
            fais fait que qu qui quoi quel quelle quels quelles comment pourquoi quand où combien si
            s'il plaît merci bonjour donc alors aussi très bien juste est-ce-que dire dis donne donnez donner savoir"""
        ),
        weak=_words("à au aux de du des dans pour par avec chez sur en vers"),
        strong=_words("avant après pendant jusqu jusque depuis sans contre entre sous derrière devant selon hors"),
        groups=_groups("link: et / ou"),
    ),
    "es": Grammar(
        empty=_words(
            """el la los las lo un una unos unas este esta estos estas ese esa eso esto yo me mi mis mí tú tu tus te ti usted
            ustedes su sus se nos nuestro nuestra él ella ellos le les
            soy es son era ser estoy está están estar he ha han haber hay puedo puede puedes pueden podemos podría podrías
            poder debo debe debería deber quiero quiere quisiera querer voy va ir tengo tiene tener hago hace hacer
            que qué quién quien cómo como cuándo cuando dónde donde por-qué cuál cual cuáles cuánto cuánta cuántos cuántas
            si por-favor favor gracias hola pues también muy ya ahora dime dame dar decir saber"""
        ),
        weak=_words("a al de del en por para con"),
        strong=_words("antes después durante hasta desde contra entre bajo sobre tras hacia según"),
        groups=_groups("link: y,e / o,u"),
    ),
    "it": Grammar(
        empty=_words(
            """il lo la i gli le l un uno una questo questa questi queste io mi me mio mia miei mie tu ti te tuo tua lei suo
            sua noi ci nostro voi vi si sono è sei siamo siete era essere ho hai ha abbiamo avete hanno avere posso puoi può
            possiamo potete potrei potresti potere devo devi deve dovere voglio vuole vorrei faccio fa fare
            che chi cosa come quando dove perché quale quali quanto quanta quanti quante se
            va vado vanno andare viene per-favore grazie ciao anche molto già adesso dimmi dammi"""
        ),
        weak=_words(
            "a ad al allo alla ai agli alle di del dello della dei degli delle in nel nella su sul sulla per con da dal dalla"
        ),
        strong=_words("prima dopo durante fino contro tra fra sotto sopra verso secondo"),
        groups=_groups("link: e,ed / o,oppure"),
    ),
    "pt": Grammar(
        empty=_words(
            """o a os as um uma uns umas este esta isso isto esse essa eu me mim meu minha meus minhas tu te você vocês seu sua
            seus suas nós nos nosso ele ela lhe se sou é são era ser estou está estão estar tenho tem ter posso pode podem
            podemos poderia poder devo deve deveria dever quero quer queria vou vai ir faço faz fazer há
            que quem como quando onde porque qual quais quanto quanta quantos quantas se
            por-favor obrigado obrigada olá também muito já agora diga"""
        ),
        weak=_words("ao à aos às de do da dos das em no na nos nas por pelo pela para pra com"),
        strong=_words("antes depois durante até desde contra entre sob sobre segundo"),
        groups=_groups("link: e / ou"),
    ),
    "nl": Grammar(
        empty=_words(
            """de het een deze dit die dat ik me mij mijn jij je jou jouw u uw hij zij ze wij we ons onze er
            ben bent is zijn was waren heb hebt heeft hebben had kan kun kunnen kunt zou zouden moet moeten mag mogen wil
            willen word wordt worden ga gaat gaan
            wat wie waar wanneer waarom hoe welke welk of als omdat alstublieft alsjeblieft dank bedankt hallo ook heel nu dan"""
        ),
        weak=_words("in op aan bij te ter voor met van als"),
        strong=_words("vóór na tijdens tot sinds ondanks tegen tussen onder boven achter naast uit naar vanaf over"),
        groups=_groups("link: en"),
    ),
}


GERMAN_PREFIXES: Final = _words("ab an auf aus bei ein mit nach um vor zu")
"""Prefixes that may be separated from their verb, at the end of a sentence."""


def preposition(word: str) -> str:
    """The representative of all prepositions with the same meaning."""
    return _SAME.get(word, word)


_KNOWN: Final = tuple(
    (each, each.empty | each.weak | each.strong | frozenset(each.groups), each.weak | each.strong)
    for each in (ENGLISH, *OTHERS.values())
)


def grammar_of(words: frozenset[str]) -> Grammar | None:
    """The grammar of a text's language, by its function words; None for an unknown language."""
    best, most = None, 0
    for each, function_words, prepositions in _KNOWN:
        # Prepositions count twice, because languages have fewer of them in common than articles.
        found = len(words & function_words) + len(words & prepositions)
        if found > most:
            best, most = each, found
    return best


ELISIONS: Final = _words("l d j qu n s c m t jusqu lorsqu puisqu dell all sull nell dall un quest quell c' com' dov'")
"""French and Italian elisions before a vowel, up to the apostrophe."""

# -- scripts without spaces

EMPTY_SIGNS: Final = tuple(
    sorted(
        [
            "请问",
            "请你",
            "请您",
            "麻烦",
            "你能",
            "您能",
            "能不能",
            "可不可以",
            "能否",
            "可否",
            "可以",
            "是否",
            "我想知道",
            "我想",
            "我要",
            "我的",
            "你的",
            "您的",
            "一下",
            "什么是",
            "是什么",
            "为我",
            "给我",
            "帮我",
            "告诉我",
            "能",
            "我",
            "你",
            "您",
            "的",
            "了",
            "吗",
            "呢",
            "吧",
            "啊",
            "呀",
            "嘛",
            "请",
            "才",
            "该",
            "应该",
            "应当",
            "哪个",
            "哪些",
            "哪一个",
            "是",
            "有",
            "会",
            "想",
            "就",
            "都",
            "也",
            "个",
            "和我",
            "如何",
            "怎么",
            "怎样",
            "怎么样",
            "怎麼",
            "怎麼樣",
            "該",
            "ください",
            "下さい",
            "でしょうか",
            "ですか",
            "ますか",
            "ました",
            "ます",
            "です",
            "でした",
            "について",
            "とは",
            "という",
            "こと",
            "もの",
            "の",
            "は",
            "も",
            "か",
            "ね",
            "よ",
            "お",
            "ご",
            "教えて",
            "知りたい",
            "したい",
            "するには",
            "には",
            "する",
            "して",
            "できますか",
            "できる",
            "私",
            "どう",
            "どうやって",
            "どのように",
            "方法",
        ],
        key=len,
        reverse=True,
    )
)
"""Left out of a comparison, the longest first."""

SAME_SIGNS: Final = (
    ("多少钱", "价格"), ("价钱", "价格"), ("費用", "価格"), ("费用", "价格"), ("料金", "価格"), ("いくら", "価格"), ("重设", "重置"), ("账号", "账户"), ("帐号", "账户"),
    ("帐户", "账户"), ("更改", "修改"), ("更换", "修改"), ("变更", "修改"), ("删掉", "删除"), ("移除", "删除"), ("购买", "买"), ("查询", "查看"), ("说明", "解释"),
    ("讲解", "解释"), ("什么时候", "何时"), ("几时", "何时"), ("为什么", "为何"), ("哪里", "何处"), ("哪儿", "何处"), ("在哪", "何处"), ("无法", "不能"), ("退钱", "退款"),
    ("联络", "联系"), ("リセット", "再設定"),
)  # fmt: skip
"""Equivalent spellings; the first is replaced by the second."""

CASE_SIGNS: Final = _words("が を に へ で と から まで より 从 到 往 向 至 比 被 把 给 对 自")
"""Case markers; exchanging two of them reverses the meaning."""

KOREAN_PARTICLES: Final = (
    "에서",
    "으로",
    "까지",
    "부터",
    "에게",
    "은",
    "는",
    "이",
    "가",
    "을",
    "를",
    "에",
    "로",
    "의",
    "와",
    "과",
    "도",
)
"""Endings of Korean words, the longest first."""
