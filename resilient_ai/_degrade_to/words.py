"""Word lists of the rules: data, not code."""

from __future__ import annotations

# Abbreviations without their last full stop: English ones, and the most frequent ones in German, French, Spanish,
# Italian and Portuguese.
ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof sr jr rev hon gen col capt lt sgt gov sen rep supt messrs cf vs v etc approx dept univ inc ltd
    co corp bros ave blvd e.g i.e a.m p.m u.s u.k u.n ph.d m.d b.a m.a d.c viz incl bzw z.b d.h u.a usw str hr ggf vgl
    mio mrd inkl mme mlle sra dra ud uds ej dott sig sigg ecc exmo
    """.split()
)

# Abbreviations that may also end a sentence, if a capital letter follows.
OFTEN_LAST = frozenset("etc inc ltd co corp bros ave blvd a.m p.m u.s u.k u.n ph.d m.d usw ecc jr sr d.c".split())

# Words that are abbreviations only before a number: "No. 5", "Jan. 3", "et al. 2004".
BEFORE_NUMBERS = frozenset(
    """
    ca no nos vol vols pp p fig figs eq eqs sec ch al ed est max min tel nr núm pág pag art abs bd av jan feb mar
    apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun
    """.split()
)

# Words that say nothing about what a text is about.
STOP_WORDS = frozenset(
    """
    a about above after again all also am an and any are as at be because been before being below between both but
    by can could did do does doing down during each even few for from further had has have having he her here hers
    him his how i if in into is it its itself just like many may me might more most much must my no nor not now of
    off on once one only or other our out over own said same say says she should so some such than that the their
    them then there these they this those through to too two under until up us very was we were what when where
    which while who whom why will with would you your mr mrs ms year years new last first time people
    """.split()
)

# Words that praise or blame anything. "like", "kind", "cheap", "cool", "sick", "pretty", "long" and "cold" are left
# out, because they have other meanings too.
GOOD = frozenset(
    """
    admirable adorable amazing appreciate appreciated awesome beautiful beautifully best better brilliant charming
    clever comfortable compelling convenient cute delicious delight delighted delightful durable easily easy elegant
    engaging enjoy enjoyable enjoyed enjoying enjoys excellent exceptional exceptionally excited exciting exquisite
    fabulous fantastic favorite favourite fascinating flawless flawlessly fresh friendly fun funny generous glad
    good gorgeous grateful great greatest handy happier happy helpful hilarious impressed impressive incredible
    incredibly intelligent interesting joy joyful love loved lovely loves loving magnificent marvelous masterpiece
    memorable nice nicely outstanding perfect perfectly phenomenal pleasant pleasantly pleased pleasure polite
    positive praise recommend recommended recommending refreshing reliable remarkable remarkably rocks satisfied
    satisfying sleek smart smooth smoothly solid spectacular stunning sturdy stylish sublime succeeded success
    successful superb superior support supportive sweet tasty tender terrific thank thankful thanks thrilled top
    touching treat unforgettable useful valuable welcoming well win wins winner witty wonderful wonderfully worked
    works worth worthwhile worthy wow yummy
    """.split()
)

BAD = frozenset(
    """
    abysmal annoyed annoying appalling arrogant ashamed atrocious awful awfully awkward bad badly bland bored boring
    broke broken bug buggy bugs bother bothered cheated cheesy clumsy complain complained complaint complaints
    confused confusing contrived corny crap crappy crash crashed crashes cruel damage damaged dead defect defective
    despise died difficult dirty disappoint disappointed disappointing disappointment disappoints disaster disgrace
    disgusted disgusting dislike disliked dissatisfied drag dreadful dull dumb embarrassing error errors fail failed
    fails failure fake faulty flaw flawed flimsy forgettable fraud frustrated frustrating frustration garbage gross
    guilty hate hated hates hating hideous horrendous horrible horribly horrid idiot idiotic impossible inconsistent
    inferior insult insulted insulting irritating joke junk lack lacked lacking lacks lame lousy mediocre mess messy
    miserable mistake mistakes nasty negative nightmare noisy nonsense offended offensive overcooked overpriced
    overrated pain painful pathetic pointless poor poorly predictable problem problems refund regret ridiculous
    rubbish rude ruined sad sadly scam shame shoddy sloppy slow sorry stale stupid suck sucked sucks tasteless
    tedious terrible terribly trash trouble ugly unacceptable unbearable unbelievable uncomfortable underwhelming
    unfortunate unfortunately unfriendly unfunny unhappy uninspired unpleasant unprofessional unreliable
    unsatisfactory unusable unwatchable upset useless waste wasted wasting weak worse worst worthless wrong
    """.split()
)

# Words of both lists that weigh more.
STRONG = frozenset(
    """
    amazing awesome best brilliant excellent exceptional fantastic hate horrible incredible love loved masterpiece
    outstanding perfect phenomenal superb terrific wonderful abysmal appalling atrocious awful despise disgusting
    dreadful garbage hated horrendous pathetic terrible unacceptable useless worst worthless
    """.split()
)

NEGATIONS = frozenset(
    """
    no not never neither nor none nobody nothing nowhere without hardly barely scarcely cannot cant dont doesnt
    didnt isnt wasnt arent werent wont wouldnt shouldnt couldnt havent hasnt hadnt aint lack lacks lacked lacking
    """.split()
)

AMPLIFIERS = frozenset(
    """
    absolutely completely deeply extremely highly incredibly really so such super totally truly utterly very
    """.split()
)

DAMPERS = frozenset(
    """
    almost bit fairly kinda little partly quite slightly somewhat sort
    """.split()
)
