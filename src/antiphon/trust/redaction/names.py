"""Names, recognised by the words before them: titles, and phrases of introduction. A model finds the others."""

from collections.abc import Iterator, Sequence

from antiphon.core.redaction import Entity, Span
from antiphon.trust.redaction.cues import STOPWORDS
from antiphon.trust.redaction.tokens import Kind, Token, word_set

MAX_WORDS = 3
_TITLES = word_set("mister mr mrs ms miss missus doctor dr professor prof sir madam mx reverend nurse")


def _phrases(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(phrase.split()) for phrase in text.split("|"))


# After these a name follows, with or without a capital.
_SAYS = _phrases(
    "my name is|my name's|name is|name's|the name is|last name|first name|surname|surname is|last name is|"
    "first name is|maiden name|middle name|full name is|named|name was|family name|last name's|middle name is|"
    "first name's|her name is|family name is|given name is|given name|full name"
)
# After these a name may follow: a capitalised word, or a usual given name.
_MAY = _phrases(
    "this is|i am|i'm|it's|speaking with|speaking to|speak to|speak with|talk to|talking to|talk with|spoke with|"
    "spoke to|ask for|call me|tell|ask|signed|regards|sincerely|contact|from|with|and|for|to|by|hi|hello|dear|hey|"
    "thanks|called|meet|husband|wife|son|daughter|mother|father|brother|sister|friend|colleague|patient|agent|"
    "manager|cousin|uncle|aunt|boss|partner"
)
_NOT_NAMES = STOPWORDS | word_set(
    "spelled spelt calling speaking sorry not going trying looking happy sure afraid about wrong right good great "
    "fine back new old still really spelled spelt with regarding concerning interested ready available open closed "
    "important urgent what where because everything something nothing everyone someone anyone nobody monday tuesday "
    "wednesday thursday friday saturday sunday january february march april may june july august september october "
    "november december english customer support billing sales claims service team department office company number "
    "account email phone"
)
# After these a capitalised word is a name.
_WHO = _phrases(
    "this is|speaking with|speaking to|speak to|speak with|talk to|talking to|talk with|spoke with|spoke to|ask for"
)
# Usual given names that are not other words.
GIVEN = word_set(
    "aaron abigail adam adrian ahmed aisha alan albert alejandro alex alexander alexandra alfred ali alice alicia "
    "amanda amir amelia amy ana andrea andrew andy angela anita anna anne anthony antonio arthur ashley barbara "
    "beatrice ben benjamin bernard beth betty bob brandon brenda brian bruce carl carla carlos carmen carol "
    "caroline catherine charles charlotte chloe chris christina christine christopher cindy claire clara colin "
    "connor craig cynthia dan daniel daniela danielle dave david deborah denise dennis derek diana diane diego "
    "dmitri donald donna doris dorothy douglas duncan edgar edith eduardo edward eileen elaine eleanor elena eli "
    "elizabeth ella ellen elliot emily emma eric erica ernest esther ethan eugene eva evelyn fatima felix fernando "
    "fiona francis francisco fred frederick gabriel gareth gary geoffrey george gerald gina giovanni gloria gordon "
    "graham greg gregory gustavo hannah harold harriet harry hassan hector heather helen helena henry herbert "
    "howard hugh hugo ian ibrahim ingrid irene isaac isabel isabella ivan jack jacob jacqueline jaime james jamie "
    "jane janet janice jason javier jeff jeffrey jennifer jenny jeremy jerry jesse jessica jill jim joan joanna joe "
    "joel johan john johnny jonathan jorge jose joseph joshua juan juanita judith judy julia julian julie karen "
    "karl kate katherine kathleen kathryn kathy katie keith kelly kenneth kevin khalid kim kimberly klaus kofi "
    "kumar kyle larry laura lauren lawrence leila leo leon leonard leslie liam lillian linda lisa lorenzo louis "
    "louise luca lucas lucia lucy luis luke lydia magdalena malcolm marcel marco marcus margaret maria marie "
    "marilyn mario marion marjorie martha martin martina mary mateo matthew maureen mei melissa meredith mia "
    "michael michelle miguel mike mohamed mohammed monica muhammad nadia nancy naomi natalie natasha nathan neil "
    "nicholas nicola nicole nina noah nora norman olga oliver olivia omar oscar owen pablo pamela patricia patrick "
    "paul paula pauline pedro peter phil philip philippa phyllis pierre priya rachel rafael rahul raj ralph ramon "
    "raymond rebecca renee ricardo richard rita robert roberto rodrigo roger roland ron ronald rosa rosemary ross "
    "roy russell ruth ryan sally sam samantha samir samuel sandra sara sarah scott sean sebastian sergio shannon "
    "sharon sheila shirley siobhan simon sofia sonia sophia sophie stacy stanley stella stephanie stephen steve "
    "steven stuart susan suzanne svetlana sylvia tamara tanya teresa terry theodore theresa thomas tim timothy tina "
    "todd tom tony tracy ursula valerie vanessa vera veronica victor victoria vincent virginia vivian vladimir "
    "walter wanda wendy wei william yasmin yolanda yusuf yuki yvonne zachary zoe"
)


def names(tokens: Sequence[Token]) -> Iterator[Span]:
    words = [token.word for token in tokens]
    lower = not any(token.text[0].isupper() and token.text != "I" for token in tokens)  # the text has no capitals
    for at, token in enumerate(tokens):
        if token.word in _TITLES and at + 1 < len(tokens):
            start = at + 1 + (words[at + 1] == ".")
            end = _end(tokens, start, sure=token.word != "nurse" and token.word != "miss")
            if end > start:
                yield Span(token.start, tokens[end - 1].end, (Entity.NAME,))
        elif token.word in GIVEN and (token.text[0].isupper() or lower or _introduced(words, at)):
            yield Span(token.start, tokens[_surname(tokens, at + 1) - 1].end, (Entity.NAME,))
        says = _follows(words, at, _SAYS)
        if says or (_follows(words, at, _WHO) and token.text[0].isupper()):
            start = at + (says and token.word in ("is", ":", "'s"))
            end = _end(tokens, start, sure=says)
            if end > start:
                yield Span(tokens[start].start, tokens[end - 1].end, (Entity.NAME,))


def _follows(words: Sequence[str], at: int, phrases: tuple[tuple[str, ...], ...]) -> bool:
    return any(tuple(words[max(0, at - len(phrase)) : at]) == phrase for phrase in phrases)


def _introduced(words: Sequence[str], at: int) -> bool:
    return at == 0 or _follows(words, at, _MAY) or _follows(words, at, _SAYS)


def _end(tokens: Sequence[Token], start: int, *, sure: bool) -> int:
    """Return the end of a name that begins at `start`; with `sure`, also of one without a capital."""
    end = start
    capital = start < len(tokens) and tokens[start].text[0].isupper()
    while end < len(tokens) and end - start < MAX_WORDS:
        token = tokens[end]
        if token.kind is not Kind.WORD or token.word in _NOT_NAMES:
            break
        if not token.text[0].isupper() and (capital or not sure) and token.word not in GIVEN:
            break
        if end > start and tokens[end - 1].word in ("name", "is"):
            break
        end += 1
    return end


def _surname(tokens: Sequence[Token], end: int) -> int:
    """Return the end of the name with the capitalised words after a given name."""
    start = end
    while end < len(tokens) and end - start < MAX_WORDS - 1:
        token = tokens[end]
        if token.kind is not Kind.WORD or not token.text[0].isupper() or token.word in _NOT_NAMES:
            break
        end += 1
    return end
