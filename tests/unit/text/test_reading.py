"""A table of what is written and what is read aloud."""

import pytest

from antiphon.text.reading import ReadWord, read


def words(text: str) -> list[ReadWord]:
    return read(text, range(len(text)), range(1, len(text) + 1))


CASES = [
    ("I have 3 apples.", "I have three apples."),
    (
        "There were 1,234,567 visitors.",
        "There were one million two hundred and thirty four thousand five hundred and sixty seven visitors.",
    ),
    ("Pi is about 3.14.", "Pi is about three point one four."),
    ("It is -5 degrees.", "It is minus five degrees."),
    ("She came 1st and he came 22nd.", "She came first and he came twenty second."),
    ("The 21st century began.", "The twenty first century began."),
    ("On Jan. 5, 2024 we met.", "On January fifth, twenty twenty four we met."),
    ("On January 5th, 2024, we met.", "On January fifth, twenty twenty four, we met."),
    ("The date is 2024-03-15.", "The date is March fifteenth, twenty twenty four."),
    ("Due 03/15/2024.", "Due March fifteenth, twenty twenty four."),
    ("It was 1999.", "It was nineteen ninety nine."),
    ("In the 1990s it grew.", "In the nineteen nineties it grew."),
    ("In the '90s it grew.", "In the nineties it grew."),
    ("Meet at 5:30 p.m. today.", "Meet at five thirty P.M today."),
    ("The bus leaves at 14:05.", "The bus leaves at fourteen oh five."),
    ("Come at 10am.", "Come at ten A.M."),
    ("Noon is 12:00.", "Noon is twelve o'clock."),
    ("It costs $5.", "It costs five dollars."),
    ("It costs $5.99.", "It costs five dollars ninety nine cents."),
    ("It costs $1.", "It costs one dollar."),
    ("They raised $3.5 million.", "They raised three point five million dollars."),
    ("They raised $2.5M.", "They raised two point five million dollars."),
    ("Pay €20 or £15.", "Pay twenty euros or fifteen pounds."),
    ("It is ¥500.", "It is five hundred yen."),
    ("A fee of 50 USD applies.", "A fee of fifty US dollars applies."),
    ("Growth was 12%.", "Growth was twelve percent."),
    ("Growth was 3.5%.", "Growth was three point five percent."),
    ("He ran 5 km.", "He ran five kilometers."),
    ("It weighs 10kg.", "It weighs ten kilograms."),
    ("Drive at 60 mph.", "Drive at sixty miles per hour."),
    ("The file is 2.5 GB.", "The file is two point five gigabytes."),
    ("It is 20°C outside.", "It is twenty degrees Celsius outside."),
    ("Add 250 ml of milk.", "Add two hundred and fifty milliliters of milk."),
    ("It took 15 ms.", "It took fifteen milliseconds."),
    ("Call 555-123-4567 now.", "Call five five five, one two three, four five six seven now."),
    ("Call (555) 123-4567.", "Call five five five, one two three, four five six seven."),
    ("Call +1 555 123 4567.", "Call plus one, five five five, one two three, four five six seven."),
    ("Dial 911.", "Dial nine one one."),
    ("Dr. Smith lives on Elm St. today.", "Doctor Smith lives on Elm Street today."),
    ("St. Louis is big.", "Saint Louis is big."),
    ("Mr. and Mrs. Jones left.", "Mister and Missus Jones left."),
    ("Use fruit, e.g. apples.", "Use fruit, for example apples."),
    ("It is small, i.e. tiny.", "It is small, that is tiny."),
    ("Cats, dogs, etc. are pets.", "Cats, dogs, et cetera are pets."),
    ("Red vs. blue.", "Red versus blue."),
    ("Prof. Lee, Ph.D., spoke.", "Professor Lee, P.H.D, spoke."),
    ("Acme Inc. and Foo Ltd. merged.", "Acme Incorporated and Foo Limited merged."),
    ("NASA and the FBI met.", "NASA and the F.B.I met."),
    ("The CPU and GPU use an API.", "The C.P.U and G.P.U use an A.P.I."),
    ("The U.S. economy grew.", "The U.S economy grew."),
    ("Visit https://example.com/docs today.", "Visit example dot com slash docs today."),
    ("Visit www.example.org.", "Visit W.W.W dot example dot org."),
    ("Mail bob.smith@example.com please.", "Mail bob dot smith at example dot com please."),
    ("Use version 2.0.1 now.", "Use version two point zero point one now."),
    ("Python 3.11 is out.", "Python three point eleven is out."),
    ("Read pages 10-15.", "Read pages ten to fifteen."),
    ("From 2010–2015 it grew.", "From twenty ten to twenty fifteen it grew."),
    ("Wait 2-3 days.", "Wait two to three days."),
    ("World War II ended.", "World War two ended."),
    ("King Henry VIII ruled.", "King Henry the eighth ruled."),
    ("See Chapter IV.", "See Chapter four."),
    ("The score was 3-2.", "The score was three to two."),
    ("Add 1/2 cup.", "Add one half cup."),
    ("Add 3/4 cup.", "Add three quarters cup."),
    ("It is 2 1/2 miles.", "It is two and a half miles."),
    ("AT&T is here.", "A.T and T is here."),
    ("Salt & pepper.", "Salt and pepper."),
    ("2 + 2 = 4.", "two plus two equals four."),
    ("We are #1.", "We are number one."),
    ("I love it 😀!", "I love it!"),
    ("It is **bold** and *soft*.", "It is bold and soft."),
    ("Run `pip install` now.", "Run pip install now."),
    ("See [the docs](https://example.com).", "See the docs."),
    ("- First item", "First item"),
    ("1. First step", "one. First step"),
    ("# Heading", "Heading"),
    ("Mix 50/50.", "Mix fifty fifty."),
    ("Room 101 is open.", "Room one hundred and one is open."),
    ("Flight BA2490 left.", "Flight B.A two four nine zero left."),
    ("The year 2005 was good.", "The year two thousand and five was good."),
    ("He is 6'2\" tall.", "He is six foot two tall."),
    ("It is 9 o'clock.", "It is nine o'clock."),
    ("1000000 people.", "one million people."),
    ("The temperature is -40°F.", "The temperature is minus forty degrees Fahrenheit."),
    ("It's 24/7.", "It's twenty four seven."),
    ("I don't know; it's Bob's.", "I don't know; it's Bob's."),
    ("The MP3 and the H2O.", "The M.P three and the H two O."),
    ("No. 5 is alive.", "number five is alive."),
    ("A 16:9 screen.", "A sixteen to nine screen."),
    ("Open Mon-Fri.", "Open Monday to Friday."),
    ("We open 9am–5pm daily.", "We open nine A.M to five P.M daily."),
    ("At 12:30:45 it stopped.", "At twelve thirty and forty five seconds it stopped."),
    ("The 5th of May, 2021.", "The fifth of May twenty twenty one."),
    ("In May 2024 and in 2024.", "In May twenty twenty four and in twenty twenty four."),
    ("9/11 changed things.", "nine eleven changed things."),
    ("Due 31/12/2024 at 14:05.", "Due December thirty first, twenty twenty four at fourteen oh five."),
    ("2024-03-15T14:05:00Z is the time.", "March fifteenth, twenty twenty four at fourteen oh five U.T.C is the time."),
    ("Price: USD 1,234.56.", "Price: one thousand two hundred and thirty four US dollars fifty six cents."),
    ("Only $0.99!", "Only ninety nine cents!"),
    ("$5/month or $60/yr.", "five dollars per month or sixty dollars per year."),
    ("$5-10 per person.", "five to ten dollars per person."),
    ("£3m deal; $100K salary.", "three million pounds deal; one hundred thousand dollars salary."),
    ("A 5-10% rise.", "A five to ten percent rise."),
    ("A 5-year-old ran a 10-km race.", "A five year old ran a ten kilometer race."),
    (
        "60 km/h, 9.8 m/s², 5 m².",
        "sixty kilometers per hour, nine point eight meters per second squared, five square meters.",
    ),
    ("Add 1/2 tsp of salt and 1½ cups.", "Add one half teaspoon of salt and one and a half cups."),
    ("Ratio 4:1, John 3:16.", "Ratio four to one, John three sixteen."),
    ("A 1920x1080 screen, 2x faster.", "A nineteen twenty by one thousand and eighty screen, two times faster."),
    ("E = mc² and 5 > 3, x <= 4.", "E equals mc squared and five greater than three, x at most four."),
    ("10 - 3 = 7 and 4 * 5 = 20.", "ten minus three equals seven and four times five equals twenty."),
    ("Call +44 20 7946 0958.", "Call plus four four, two zero, seven nine four six, zero nine five eight."),
    ("Card 4111 1111 1111.", "Card four one one one, one one one one, one one one one."),
    (
        "IP 10.0.0.1:80, version v2.1.",
        "I.P ten dot zero dot zero dot one port eighty, version two point one.",
    ),
    (
        "iOS 17.2, GPT-4o, COVID-19, F-16, 3D.",
        "I.O.S seventeen point two, G.P.T four O, COVID nineteen, F sixteen, three D.",
    ),
    (
        "Agent 007 has 1234567890123456.",
        "Agent zero zero seven has one two three four five six seven eight nine zero one two three four five six.",
    ),
    ("U.S. and U.K. vs. E.U.", "U.S and U.K versus E.U."),
    ("J. K. Rowling met Mr. T.", "J K Rowling met Mister T."),
    (
        "Dr. Jones of Elm Dr. met St. John on Main St. today.",
        "Doctor Jones of Elm Drive met Saint John on Main Street today.",
    ),
    ("Gen. Lee and Sen. Smith.", "General Lee and Senator Smith."),
    ("See Fig. 3, pp. 10-12, ch. 4.", "See Figure three, pages ten to twelve, chapter four."),
    ("PDFs, APIs, the IDs.", "P.D F's, A.P I's, the I D's."),
    ("I AM VERY HAPPY. STOP NOW!", "I AM VERY HAPPY. STOP NOW!"),
    ("DO NOT touch it.", "DO NOT touch it."),
    ("Elizabeth II, Super Bowl LVIII, World War I.", "Elizabeth the second, Super Bowl fifty eight, World War one."),
    ("I, Claudius. Am I?", "I, Claudius. Am I?"),
    ("w/ milk w/o sugar", "with milk without sugar"),
    ("and/or", "and or"),
    ("R&D, Q&A, Tom & Jerry", "R and D, Q and A, Tom and Jerry"),
    (
        "a@b.co.uk or http://a.com:80/b?x=1#top.",
        "A- at B dot co dot U.K or A- dot com colon eighty slash B question mark X equals one hash top.",
    ),
    ("config.py and /usr/local/bin", "config dot P.Y and slash usr slash local slash bin"),
    ("~5 items, ±3, ≥5, 50¢", "about five items, plus or minus three, at least five, fifty cents"),
    ("#python, C#, C++, .NET, Node.js", "hashtag python, C sharp, C plus plus, dot NET, Node dot J.S"),
    ('"Hello," she said. (Yes.)', "Hello, she said. Yes."),
    ("He said—well—nothing... Hmm", "He said, well, nothing... Hmm"),
    ("Wait -- what? Yes - no.", "Wait, what? Yes, no."),
    ("snake_case and __init__", "snake case and init"),
    ("~~wrong~~ ***both***", "wrong both"),
    ("| a | b |", "a, b"),
    ("![alt text](img.png) and note[^1] and cite [12].", "alt text and note and cite."),
    ("<b>bold</b> &amp; <br/> a<b", "bold and a less than b"),
    ("Great job 🎉🎉! I ❤️ it :)", "Great job! I it"),
    ("Naïve Łódź हिन्दी 日本語", "Naïve Łódź हिन्दी 日本語"),
    ("2) Second", "two, Second"),
    ("7 x 8 = 56, a 50-50 chance", "seven times eight equals fifty six, a fifty fifty chance"),
    ("𝐁𝐨𝐥𝐝 ﬁne cafe\u0301 Ⅷ", "Bold fine café VIII"),
    ("See [https://a.org/](https://a.org/) now.", "See A- dot org now."),
    ("The `.run()` method of a.b", "The dot run method of a dot b"),
    ("It ended.Another began", "It ended. Another began"),
    ("BPE, ORM, JSON, YAML, NYC", "B.P.E, ORM, Jason, YAML, N.Y.C"),
    ("WHY DID THE CPU STOP?", "WHY DID THE C.P.U STOP?"),
    ("I.e., no. Mr.Smith of 476 AD", "that is, no. Mister Smith of four seventy six A.D"),
    ("Smith, Jr., left", "Smith, Junior, left"),
    ("No. I said no.", "No. I said no."),
    ("T-shirt, 3-D, twenty-one", "T shirt, three D, twenty one"),
    ('Was it "no,"?', "Was it no?"),
    ("Vitamin A is good. Grade A.", "Vitamin A- is good. Grade A."),
    ("Ph.D. students", "P.H.D students"),
    ("3-2-1 go", "three, two, one go"),
    (".5 and 00:00", "zero point five and zero hundred"),
]


@pytest.mark.parametrize(("written", "expected"), CASES)
def test_text_is_read_as_a_person_would(written: str, expected: str) -> None:
    assert " ".join(word.read for word in words(written)) == expected


def ranges(text: str) -> list[tuple[str, str]]:
    return [(word.read, text[word.start : word.end]) for word in words(text)]


def test_each_word_knows_what_it_stands_for() -> None:
    assert ranges("It costs $5, Dr. Who!") == [
        ("It", "It"),
        ("costs", "costs"),
        ("five", "$5,"),
        ("dollars,", "$5,"),
        ("Doctor", "Dr."),
        ("Who!", "Who!"),
    ]


def test_a_date_is_read_word_by_word() -> None:
    assert ranges("Jan. 5, 2024") == [
        ("January", "Jan."),
        ("fifth,", "5,"),
        ("twenty", "2024"),
        ("twenty", "2024"),
        ("four", "2024"),
    ]


def test_what_is_silent_belongs_to_a_word_beside_it() -> None:
    assert ranges('**Bold** "said" (aside) [link](http://a.b) end 🎉.') == [
        ("Bold", "**Bold**"),
        ("said,", '"said"'),
        ("aside,", "(aside)"),
        ("link", "[link](http://a.b)"),
        ("end.", "end 🎉."),
    ]


def test_a_text_without_words_has_none() -> None:
    for text in ("", " ", "***", "---", "🎉", "\ufffd", "\u200b", "...", '""'):
        assert not words(text)


def test_what_looks_like_a_form_and_is_none_is_read_as_it_stands() -> None:
    said = " ".join(word.read for word in words("99/99/2024 and 31.31.2024 and 2024-99-99 and 99:99"))
    assert "January" not in said
    assert said.startswith("ninety nine")


def test_numbers_of_any_length_are_read() -> None:
    assert len(words("9" * 190)) == 190
    assert [word.read for word in words("0." + "1" * 5)] == ["zero", "point", *["one"] * 5]
    assert words("1" + ",000" * 40)[0].read == "one"


@pytest.mark.parametrize(
    ("written", "read_aloud"),
    [
        ("a <<<<<<<< b", "a less than less than less than b"),
        ("a < < < < b < c", "a less than less than less than b less than c"),
        ("C++ and x && y", "C plus plus and x and and y"),
        ("U.S." * 4, "U.S.U.S.U.S.U.S."),
        ("U.S." * 6, "U.S.U.S.U.S.U.S U.S.U.S."),
        ("A.B.C.D.E.F.G.H.I.J", "A.B.C.D.E.F.G.H I.J"),
        ("日." * 33, "日.日.日.日.日.日.日.日."),
        ("z" * 60 + "!", "z" * 8 + "!"),
        ("Pneumonoultramicroscopicsilicovolcanoconiosis.", "Pneumonoultramicroscopicsilicovolcanocon iosis."),
    ],
)
def test_what_nobody_would_read_out_is_not(written: str, read_aloud: str) -> None:
    assert " ".join(word.read for word in words(written)) == read_aloud
