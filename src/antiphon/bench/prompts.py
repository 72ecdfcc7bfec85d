"""The prompts of the language benches: sixty of our own, from four words to a page, or a file's.

A file is JSON lines, each an object with `prompt` (text) or `messages` (as in a chat), or a JSON list like ShareGPT's,
of which each conversation's first human turn is used. The order of the sixty mixes their lengths.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from antiphon.bench.completions import Messages
from antiphon.core.errors import CallerError

_SHORT = (
    "Name three primary colours.",
    "What is the capital of Portugal?",
    "Say good morning in Italian.",
    "Why is the sky blue?",
    "Give me a word that rhymes with light.",
    "How many legs does a spider have?",
    "What does a barometer measure?",
    "Who wrote Pride and Prejudice?",
    "Is a tomato a fruit or a vegetable?",
    "What is seven times eight?",
    "Tell me a short joke about cats.",
    "What is the boiling point of water at sea level?",
    "Which planet is closest to the sun?",
    "Suggest a name for a small bakery.",
    "What is the opposite of generous?",
    "Spell the word necessary.",
    "What do bees make?",
    "How long is a marathon?",
    "Translate thank you into French.",
    "What is a haiku?",
)

_MEDIUM = (
    "Explain to a ten-year-old how a rainbow comes about, and why its colours always stand in the same order.",
    "Write a polite message to a neighbour whose dog barks every night, and propose a way to solve it together.",
    "I have eggs, spinach, a little cheese and an old loaf of bread. What could I cook in half an hour?",
    "Compare trains and aeroplanes for a journey of six hundred kilometres: time, comfort, cost and the environment.",
    "Write a function in Python that returns the second largest number of a list. What about duplicates?",
    "Give five tips to somebody who speaks in public for the first time, each in one sentence, with a reason.",
    "What are the differences between a lake, a pond and a reservoir? Answer as a table with three rows.",
    "Summarise the rules of chess for someone who has never seen a board. Leave castling and en passant for later.",
    "A shop sells pencils at 40 cents each, or ten for 3 euros. What do 27 cost at least? Show how you found it.",
    "Write the opening paragraph of a mystery set in a lighthouse in winter. Nobody may speak, and nothing may be red.",
    "Plan a weekend in a town by the sea for a family with two small children, and think of what to do if it rains.",
    "Describe how a bicycle stays upright while it is moving. Say also what is still argued about in the explanation.",
    "Turn this into a formal letter: we can't come on friday, the van broke down, could we do it next week instead?",
    "What should a beginner know before growing tomatoes on a balcony that faces east? Think of pots, water and wind.",
    "Explain the difference between a virus and a bacterium, and why an antibiotic helps against only one of them.",
    "List the advantages and drawbacks of working at night in a hospital, from the point of view of a young nurse.",
    "Write a SQL query that finds the ten customers who spent most last year, given tables of customers and of orders.",
    "Write a short dialogue between a baker and a customer who wants a cake for an astronomer's fiftieth birthday.",
    "Explain what inflation is, how it is measured, and who gains and who loses by it when it comes as a surprise.",
    "Propose a daily half-hour routine for somebody who wants to learn to draw, for the first two weeks.",
)

_PASSAGES = (
    "The harbour had been built in three stages. The oldest part, a stone quay of barely sixty metres, dated from "
    "the time when salt was the town's only trade, and its iron rings were worn thin where ropes had run through "
    "them for two hundred years. The second part came with the railway: a straight wall of dressed granite, a "
    "customs house, and four cranes that were moved by water pressure from a tower behind the station. When the "
    "cranes were electrified, the tower became a shop for bicycles. The third part was never finished. A breakwater "
    "was to have closed the bay from the north, but the contractor failed after one winter, and what he left is a "
    "line of boulders that shows at low water and has cost eleven boats since. Fishermen call it the accountant. "
    "Today the quay belongs to the sailing school, the granite wall to the ferry, and the boulders to cormorants. "
    "Every few years somebody proposes to complete the breakwater; the proposal is discussed, costed, and put away "
    "until those who remember it have left the council.",
    "Our library moved to a new lending system in March. Before, a reader who wanted a book that was out filled in "
    "a card, and we wrote to them when it came back; the mean wait was nineteen days. Now a reader reserves from "
    "home, and the system writes by itself. The wait has fallen to eleven days, which we had hoped for, but three "
    "things surprised us. First, reservations have tripled, so that the number of readers who wait is larger than "
    "ever. Second, a fifth of the reserved books are never fetched: they stand on the shelf behind the desk for a "
    "week and go back. Third, the readers over seventy, who were a third of all who reserved, are now a tenth. We "
    "have tried a shorter time for fetching, five days instead of seven, and it made hardly any difference. We have "
    "not tried reminders by telephone, nor a limit on reservations, nor letting the staff reserve for those who ask "
    "at the desk, though two branches do so without having told anybody. The committee meets in June and would like "
    "to decide on one change, not on several.",
    "A loaf is patience more than skill. Mix five hundred grams of flour with three hundred and fifty of water, and "
    "leave it alone for half an hour: the flour drinks, and the dough begins to hold together without having been "
    "touched. Then add ten grams of salt and a hundred of lively sourdough, and work them in with a wet hand until "
    "nothing is slippery any more. For the next three hours, fold the dough every thirty minutes, four times in "
    "all, and between the folds keep it covered and out of the draught. It is ready when it has grown by half, not "
    "when the clock says so; in a cold kitchen that may take five hours, in summer barely two. Shape it gently, lay "
    "it in a floured basket, and put it in the refrigerator overnight. In the morning heat the oven with a heavy "
    "pot in it to two hundred and fifty degrees for three quarters of an hour. Turn the cold dough into the hot "
    "pot, cut it once with a razor, put on the lid, and bake for twenty-five minutes; then take off the lid and "
    "bake twenty more at two hundred and twenty. Let it cool before you cut it. Nobody ever does.",
    "From: the operations desk. At 02:14 the monitoring reported that orders were no longer being confirmed. The "
    "engineer on duty found that the queue between the shop and the warehouse held forty thousand messages, and "
    "that the one process which reads it had been restarting every nine seconds since 01:50. Each time it read the "
    "same message, failed on an address without a postal code, and was restarted by the supervisor with the message "
    "still in the queue. The engineer moved that message aside by hand at 02:31, and the queue was empty at 03:05. "
    "No order was lost; about three thousand were confirmed more than an hour late, and two hundred customers had "
    "by then ordered a second time. The address had come from a partner whose form was changed the day before. Our "
    "own form has refused such addresses since last year, but the partner's interface does not pass through it. The "
    "alarm was set to fire at fifty thousand messages; it was the customer service that had called at 02:14. The "
    "supervisor has no limit on restarts.",
)

_QUESTIONS = (
    "Summarise the text above in two sentences.",
    "Which facts in the text are numbers? List each with what it counts.",
    "Write a headline of at most eight words for the text, and give a reason for your choice.",
    "What does the text leave unsaid that a careful reader would want to know? Name three things.",
    "Rewrite the text for a child of nine, in at most a hundred words.",
)


def built_in() -> list[Messages]:
    """Return the sixty prompts, each a conversation of one turn."""
    long = [
        f"{_beginning(passage, share / len(_QUESTIONS))}\n\n{question}"
        for share, question in enumerate(_QUESTIONS, start=1)
        for passage in _PASSAGES
    ]
    mixed = zip(_SHORT, _MEDIUM, long, strict=True)
    return [_messages(prompt) for three in mixed for prompt in three]


def _beginning(passage: str, share: float) -> str:
    """Return that share of the sentences."""
    sentences = passage.split(". ")
    return ". ".join(sentences[: math.ceil(share * len(sentences))]).removesuffix(".") + "."


class _Line(msgspec.Struct):
    prompt: str | None = None
    messages: list[dict[str, object]] | None = None


class _Turn(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Shared(msgspec.Struct):
    conversations: list[_Turn]


def read(path: Path) -> list[Messages]:
    """Return a file's conversations, in order. Raises `CallerError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CallerError(f"{path}: {error.strerror}") from error
    found = _shared(path, content) if content.lstrip().startswith(b"[") else _lines(path, content)
    if not found:
        raise CallerError(f"{path}: contains no prompts")
    return found


def _lines(path: Path, content: bytes) -> list[Messages]:
    found: list[Messages] = []
    for number, text in enumerate(content.splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.MsgspecError as error:
            raise CallerError(f"{path}, line {number}: {error}") from error
        if (line.prompt is None) == (line.messages is None):
            raise CallerError(f"{path}, line {number}: needs either `prompt` or `messages`")
        found.append(line.messages if line.messages is not None else _messages(line.prompt or ""))
    return found


def _shared(path: Path, content: bytes) -> list[Messages]:
    try:
        shared = msgspec.json.decode(content, type=list[_Shared])
    except msgspec.MsgspecError as error:
        raise CallerError(f"{path}: {error}") from error
    turns = (next((t for t in one.conversations if t.speaker in ("human", "user")), None) for one in shared)
    return [_messages(turn.value) for turn in turns if turn is not None and turn.value.strip()]


def _messages(prompt: str) -> Sequence[dict[str, object]]:
    return [{"role": "user", "content": prompt}]
