"""Function words by language: a small, closed class of words that identifies a language."""

from __future__ import annotations

from routenator.language import base_code
from routenator.validation.letters import folded

_TEXT = {
    "en": """
        a an the some any this that these those my our your his her their its i we you he she it they me us him them
        of for with in on at to from by about into over under near like as and or but so if then than
        is are was be been am do does did can could would will should may might have has had need want
        what which who where when how why not no yes all more most very just also too only really
        here there now please thanks thank hello hi hey ok let let's i'd i'm i'll it's that's what's where's can't don't
        something anything one ones""",
    "de": """
        der die das den dem des ein eine einen einem einer und oder aber nicht kein keine mit für von zu zum zur im
        in am an auf aus bei
        nach ich du er sie es wir ihr mich mir dich uns mein dein sein ist sind war bin hat habe kann möchte will bitte
        wie was wo wer wann
        dass auch nur noch sehr hier bitte danke""",
    "es": """
        el la los las un una unos unas y o pero no con para por de del al en sobre yo tú él ella nosotros me te se mi
        tu su
        es son está están era hay quiero quisiera puedo puede necesito qué cuál dónde cuándo cómo por favor gracias muy
        más también que""",
    "fr": """
        le la les un une des du de au aux et ou mais ne pas avec pour par dans sur chez je tu il elle nous vous ils
        me te se mon ma mes
        ton est sont était suis ai a peux veux voudrais puis quel quelle où quand comment merci s'il vous plaît très
        plus aussi que qui ce cette""",
    "it": """
        il lo la i gli le un uno una e o ma non con per da di del della nel nella su io tu lui lei noi voi mi ti si
        mio tuo suo
        è sono era ho ha posso voglio vorrei che chi dove quando come per favore grazie molto più anche questo
        questa""",
    "pt": """
        o a os as um uma uns umas e ou mas não com para por de do da dos das no na em sobre eu tu ele ela nós você me
        te se meu seu
        é são está estão era há quero queria posso pode preciso que qual onde quando como por favor obrigado muito
        mais também""",
}

FUNCTION_WORDS: dict[str, frozenset[str]] = {language: frozenset(text.split()) for language, text in _TEXT.items()}

# Languages whose words are too close to those of others to tell on others: they count for queries of the language only.
_OWN_TEXT = {
    "da": """
        og eller men ikke jeg du han hun den det de vi i mig dig os min mit mine din dit dine en et er var har kan skal
        vil må at til fra på med uden for om af ved efter før under over mellem hvad hvem hvor hvornår hvordan hvilken
        hvilket hvilke der som så nu også kun meget mere alle noget nogen ingen venligst tak gerne lige""",
    "nl": """
        de het een en of maar niet geen ik je jij u hij zij ze wij we jullie mij me jou ons mijn jouw uw zijn haar is
        was ben bent heb hebt heeft kan kun kunt wil wilt moet mag te tot van voor met zonder in op aan bij naar om uit
        over onder na tussen wat wie waar wanneer hoe welke welk er die dat deze dit nu ook alleen nog heel meer alle
        iets alstublieft graag even bedankt""",
    "sv": """
        och eller men inte jag du han hon den det de vi ni mig dig oss min mitt mina din ditt dina en ett är var har kan
        ska vill måste att till från på med utan för om av vid efter före under över mellan vad vem var när hur vilken
        vilket vilka som så nu också bara mycket mer alla något någon ingen snälla tack gärna""",
    "no": """
        og eller men ikke jeg du han hun den det de vi dere meg deg oss min mitt mine din ditt dine en et ei er var har
        kan skal vil må å at til fra på med uten for om av ved etter før under over mellom hva hvem hvor når hvordan
        hvilken hvilket hvilke der som så nå også bare mye mer alle noe noen ingen vennligst takk gjerne""",
    "tr": """
        ve veya ya da ama fakat değil ben sen o biz siz onlar bana sana bizi beni bir bu şu için ile gibi kadar daha en
        çok var yok mı mi mu mü ne kim nerede nereye ne zaman nasıl hangi kaç şimdi sadece hiç bütün her lütfen teşekkür
        eder misin olsun olan""",
}
_OWN_TEXT["nb"] = _OWN_TEXT["no"]
OWN_WORDS: dict[str, frozenset[str]] = FUNCTION_WORDS | {
    language: frozenset(map(folded, text.split())) for language, text in _OWN_TEXT.items()
}
_COMPOUNDING = frozenset({"da", "de", "et", "fi", "hu", "is", "nb", "nl", "no", "sv", "tr"})


def longest_word(language: str) -> int:
    """The number of letters above which a text is not a word; more where words are put together without spaces."""
    return 40 if base_code(language) in _COMPOUNDING else 24


# Function words that none of the other languages has: one of them outside the slots settles the language, even if a
# title in a slot looks foreign.
TELLING_WORDS: dict[str, frozenset[str]] = {
    language: words.difference(*(others for code, others in FUNCTION_WORDS.items() if code != language))
    for language, words in OWN_WORDS.items()
}

# No complete request ends with one of these; the rest was cut off.
_DANGLING_TEXT = {
    "en": """
        a an the my our your their of and or but than as into with i we they i'd i'm i'll which very""",
}

DANGLING: dict[str, frozenset[str]] = {language: frozenset(text.split()) for language, text in _DANGLING_TEXT.items()}

# Languages in which an article or preposition grows together with a vowel after it: "l'album", "all'una".
ELIDING = frozenset({"ca", "fr", "it"})

# A word before one of these is a verb, not a noun: "show me", "sketch a", "play the".
OBJECTS = frozenset({"a", "an", "the", "me", "us", "my", "our", "some"})
