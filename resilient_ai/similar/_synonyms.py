"""Synonyms, whose exchange does not change a question. Only everyday words of requests."""

from __future__ import annotations

from typing import Final

_GROUPS: Final = """
delete,remove,erase,clear,drop begin,start,commence repair,fix,mend create,creator,creation,generate,build,produce write,draft,compose
buy,purchase cancel,cancellation,terminate end,finish,complete change,modify,alter,edit,update show,display,view see,look
give,suggest,suggestion,provide,recommend,recommendation,propose,offer,list,name,show,tell describe,description,explain,explanation,clarify
find,locate choose,select,pick send,transmit receive,get obtain,acquire answer,reply,respond,response ask,inquire help,assist,assistance,support
big,large,huge small,little,tiny fast,quick,quickly,rapid,speed easy,simple difficult,hard cheap,inexpensive,affordable expensive,costly,pricey
price,cost,fee,charge wrong,incorrect right,correct error,mistake problem,issue,trouble sick,ill happy,glad movie,film phone,mobile,cellphone,smartphone,telephone
car,automobile job,occupation,profession child,kid,children,kids doctor,physician shop,store holiday,vacation picture,photo,image,photograph
email,mail app,application website,site,webpage account,profile password,passcode user,member customer,client
company,firm,business employee,worker colleague,coworker boss,manager contract,agreement invoice,bill receipt order,purchase delivery,shipping,shipment ship,deliver
parcel,package refund,reimbursement,reimburse return,back payment,pay transfer,wire login,log-in,signin,sign-in logout,log-out,signout,sign-out signup,sign-up,register,registration
meaning,mean,means,definition,define,signify difference,differ,different distance,far length,long,duration height,tall,high depth,deep width,wide weight,heavy,weigh,heaviness
age,old size,big number,count amount,quantity temperature,hot reason,cause,why method,way,procedure,process step,instruction birthplace,born inventor,invent,invented
discover,discovery founder,found,founded author,written population,inhabitant,people illness,disease medicine,drug,medication meal,dish recipe,cook food,foods
stop,quit,halt allow,permit,let happen,occur need,require,requirement want,wish use,utilise,utilize,usage,apply try,attempt keep,retain,store,save
travel,trip,journey flight,fly railway street,road house,home flat,apartment garden,yard music,song book,novel
translate,translation install,installation summarize,summary,summarise,summarization calculate,calculation,compute compare,comparison convert,conversion
solve,solution decide,decision arrive,arrival depart,departure,leave improve,enhance,better reduce,decrease,lower increase,raise,boost
connect,connection configure,configuration,setup,set-up,set enable,activate,activation disable,deactivate verify,verification,confirm,confirmation,check
upload,post open,launch close,shut click,press type,enter copy,duplicate move,shift rename,name sort,order search,find filter,screen
wifi,wi-fi,wlan internet,web,online computer,pc laptop,notebook screen,display,monitor keyboard,keys picture,image couch,sofa fridge,refrigerator tap,faucet
autumn,fall subway,underground,metro lift,elevator lorry,truck biscuit,cookie chips,fries petrol,gas,gasoline rubbish,trash,garbage,waste holiday,vacation
great,good,excellent,best important,essential,crucial,key dangerous,risky,hazardous safe,secure healthy,wholesome common,frequent,usual rare,unusual
quiet,silent angry,mad tired,exhausted famous,known,renowned beautiful,pretty strange,odd,weird broken,damaged,defective lost,missing
declined,rejected,refused blocked,frozen,locked charged,billed stolen,theft arrived,come work,function expire,expiry,expiration valid,validity
validate,validation,verify,confirm extra,additional max,maximum,highest appear,show display,show functioning,working,work,function faulty,broken,defective
physical,actual retrieve,recover reach,arrive swallow,swallowed,kept,keep,ate,eaten assist,help permitted,allowed
currency,currencies exchange,swap rate,rates cash,money balance,funds card,cards atm,cashpoint bank,banking topup,top-up
"""

_SPELLINGS: Final = (
    ("isation", "ization"), ("ise", "ize"), ("ising", "izing"), ("ised", "ized"), ("yse", "yze"), ("our", "or"), ("ours", "ors"),
    ("oured", "ored"), ("ourite", "orite"), ("ourites", "orites"), ("tre", "ter"), ("tres", "ters"), ("ogue", "og"), ("elling", "eling"), ("elled", "eled"),
)  # fmt: skip
"""British and American endings."""

_NOT_SPELLINGS: Final = frozenset(
    "four hour tour pour your our sour flour wise rise noise raise promise exercise precise advise surprise".split()
)


def _table() -> dict[str, frozenset[int]]:
    table: dict[str, set[int]] = {}
    for number, group in enumerate(_GROUPS.split()):
        for word in group.split(","):
            table.setdefault(word, set()).add(number)
    return {word: frozenset(numbers) for word, numbers in table.items()}


TABLE: Final = _table()
"""The numbers of the groups that a word is in."""
_NONE: Final[frozenset[int]] = frozenset()


def are_synonyms(one: str, other: str) -> bool:
    """Whether two lower-case words have the same meaning in a request."""
    return not TABLE.get(one, _NONE).isdisjoint(TABLE.get(other, _NONE))


def american(word: str) -> str:
    """The American spelling of a word."""
    if len(word) > 4 and word not in _NOT_SPELLINGS:
        for british, ours in _SPELLINGS:
            if word.endswith(british) and len(word) - len(british) >= 2:
                return word[: -len(british)] + ours
    return word
