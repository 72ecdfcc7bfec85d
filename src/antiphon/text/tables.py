"""The tables of English reading: units, currencies, abbreviations, initials, signs."""


def set_of(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
MONTH_NUMBERS = {
    spelling: number
    for number, name in enumerate(MONTHS, 1)
    for spelling in (name, name[:3], name[:3] + ".", *(("Sept", "Sept.") if name == "September" else ()))
}

DAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday", "Thur": "Thursday",
    "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip

# sign or code -> one, many, its hundredth, many of those ("" if there is none)
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "CA$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "AU$": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "NZ$": ("New Zealand dollar", "New Zealand dollars", "cent", "cents"),
    "HK$": ("Hong Kong dollar", "Hong Kong dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("rouble", "roubles", "kopek", "kopeks"),
    "₺": ("lira", "lira", "kuruş", "kuruş"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "USD": ("US dollar", "US dollars", "cent", "cents"),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "NZD": ("New Zealand dollar", "New Zealand dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"),
    "JPY": ("yen", "yen", "", ""),
    "CNY": ("yuan", "yuan", "", ""),
    "RMB": ("yuan", "yuan", "", ""),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "INR": ("rupee", "rupees", "paisa", "paise"),
    "KRW": ("won", "won", "", ""),
    "SEK": ("Swedish krona", "Swedish kronor", "öre", "öre"),
    "NOK": ("Norwegian krone", "Norwegian kroner", "øre", "øre"),
    "DKK": ("Danish krone", "Danish kroner", "øre", "øre"),
    "PLN": ("zloty", "zlotys", "grosz", "groszy"),
    "BRL": ("real", "reais", "centavo", "centavos"),
    "MXN": ("peso", "pesos", "centavo", "centavos"),
    "BTC": ("bitcoin", "bitcoins", "", ""),
}

MAGNITUDES = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "b": "billion", "B": "billion",
    "bn": "billion", "T": "trillion", "tn": "trillion", "hundred": "hundred", "thousand": "thousand",
    "million": "million", "billion": "billion", "trillion": "trillion",
}  # fmt: skip

# symbol -> one, many
_PLAIN_UNITS = {
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "m": "meter", "nm": "nanometer", "μm": "micrometer",
    "µm": "micrometer", "mi": "mile", "yd": "yard", "mg": "milligram", "g": "gram", "kg": "kilogram", "μg": "microgram",
    "µg": "microgram", "lb": "pound", "lbs": "pound", "oz": "ounce", "ml": "milliliter", "mL": "milliliter",
    "cl": "centiliter", "l": "liter", "L": "liter", "gal": "gallon", "qt": "quart", "tsp": "teaspoon",
    "tbsp": "tablespoon", "s": "second", "sec": "second", "secs": "second", "ms": "millisecond", "μs": "microsecond",
    "µs": "microsecond", "ns": "nanosecond", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour",
    "hrs": "hour", "yr": "year", "yrs": "year", "B": "byte", "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte",
    "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte",
    "TiB": "tebibyte", "kb": "kilobit", "Kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "px": "pixel", "V": "volt",
    "mV": "millivolt", "kV": "kilovolt", "W": "watt", "mW": "milliwatt", "kW": "kilowatt", "MW": "megawatt",
    "GW": "gigawatt", "Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour", "mA": "milliamp",
    "mAh": "milliamp hour", "Ah": "amp hour", "N": "newton", "J": "joule", "kJ": "kilojoule", "cal": "calorie",
    "kcal": "kilocalorie", "Pa": "pascal", "kPa": "kilopascal", "MPa": "megapascal", "mol": "mole", "ha": "hectare",
    "Ω": "ohm", "km²": "square kilometer", "m²": "square meter", "cm²": "square centimeter", "km2": "square kilometer",
    "m2": "square meter", "cm2": "square centimeter", "m³": "cubic meter", "cm³": "cubic centimeter",
    "m3": "cubic meter", "cm3": "cubic centimeter", "°": "degree",
}  # fmt: skip
UNITS: dict[str, tuple[str, str]] = {symbol: (name, name + "s") for symbol, name in _PLAIN_UNITS.items()} | {
    "ft": ("foot", "feet"),
    "sq ft": ("square foot", "square feet"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "℃": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "℉": ("degree Fahrenheit", "degrees Fahrenheit"),
    "mph": ("mile per hour", "miles per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"),
    "m/s²": ("meter per second squared", "meters per second squared"),
    "mpg": ("mile per gallon", "miles per gallon"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"),
    "fps": ("frame per second", "frames per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "MB/s": ("megabyte per second", "megabytes per second"),
    "GB/s": ("gigabyte per second", "gigabytes per second"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"),
    "dB": ("decibel", "decibels"),
    "psi": ("P.S.I", "P.S.I"),
    "ppm": ("part per million", "parts per million"),
}
# After a slash: "$5/mo".
PER = {
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "hour": "hour", "day": "day",
    "d": "day", "week": "week", "wk": "week", "mo": "month", "month": "month", "yr": "year", "year": "year",
    "y": "year", "kg": "kilogram", "g": "gram", "lb": "pound", "oz": "ounce", "gal": "gallon",
    "km": "kilometer", "mile": "mile", "person": "person", "user": "user", "kWh": "kilowatt hour", "GB": "gigabyte",
}  # fmt: skip

# Written with a point that does not end a sentence: a word follows.
TITLES = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor", "Rev": "Reverend",
    "Hon": "Honorable", "Gen": "General", "Col": "Colonel", "Maj": "Major", "Capt": "Captain", "Cpt": "Captain",
    "Lt": "Lieutenant", "Sgt": "Sergeant", "Cmdr": "Commander", "Gov": "Governor", "Sen": "Senator",
    "Rep": "Representative", "Pres": "President", "Mt": "Mount", "Ft": "Fort", "Fr": "Father", "Mme": "Madame",
    "Mlle": "Mademoiselle",
}  # fmt: skip
CONNECTIVES = {
    "e.g": "for example", "i.e": "that is", "vs": "versus", "cf": "compare", "viz": "namely", "approx": "approximately",
    "incl": "including", "excl": "excluding", "resp": "respectively", "aka": "also known as", "a.k.a": "also known as",
    "esp": "especially", "Vol": "Volume", "vol": "volume", "Fig": "Figure", "fig": "figure", "Figs": "Figures",
    "Sec": "Section", "Ch": "Chapter", "ch": "chapter", "pp": "pages", "Eq": "Equation", "eq": "equation",
    "Art": "Article", "ca": "circa",
}  # fmt: skip
# Written with a point that may also end a sentence.
CLOSERS = {
    "etc": "et cetera", "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Co": "Company",
    "Bros": "Brothers", "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire", "Ave": "Avenue", "Blvd": "Boulevard",
    "Rd": "Road", "Ln": "Lane", "Hwy": "Highway", "Dept": "Department", "dept": "department", "Univ": "University",
    "Assn": "Association", "Ph.D": "P.H.D", "PhD": "P.H.D", "M.D": "M.D", "B.A": "B.A", "B.Sc": "B.S.C",
    "M.Sc": "M.S.C", "al": "al", "ext": "extension", "min": "minutes", "max": "maximum", "hr": "hours", "hrs": "hours",
    "mins": "minutes", "secs": "seconds", "a.m": "A.M", "p.m": "P.M", "A.M": "A.M", "P.M": "P.M", "B.C": "B.C",
    "A.D": "A.D", "C.E": "C.E", "B.C.E": "B.C.E", "St": "Street", "govt": "government", "Govt": "Government",
}  # fmt: skip
CLOSERS |= {written[:-1]: MONTHS[number - 1] for written, number in MONTH_NUMBERS.items() if written.endswith(".")}
CLOSERS |= {day: name for day, name in DAYS.items() if day not in ("Sun", "Sat", "Wed", "Mon")}
del CLOSERS["May"]
# Abbreviations also without their point.
POINTLESS = set_of("Mr Mrs Ms Dr Prof vs etc Jr Sr Ltd Blvd PhD aka approx Inc Corp")

# Capitals that are read letter by letter although they could be a word; those without a vowel need no entry.
INITIALS = set_of(
    """
    ABC AC AD ADHD AGI AI AKA AMA API APR APY ASR ATM AUD AWS BA BBC CE CEO CFO CIA CIO CLI CMO COO CPA CPU CSI CTA
    CTO DIY DNA DOI DOJ DOS DUI EBITDA ECG EKG EMT EOD EPA ER ESA ESG ESL ESPN ETA ETF EU EUR EV FAA FAQ FBI FDA
    FIFO GDPR GE GIF GIS GOP GPA GPU GUI GUID HIV HQ HR IBM ICU ID IDE IEEE IEP IMF IO IOU IP IPA IPO IQ IRC IRS
    ISBN ISO ISP ITN IVF KPI LA LED LLM MBA MIT MLB MRI MVP NBA NCAA NDA NFL NGO NHL NIH NLP NSA NYC NYSE NYU OCD
    OCR OECD OEM OK OS OTP PA PBS PO POC POS PR QA RNA ROI RPM RSA RSI RSVP SDK SEO SIP SLA SOS SQL SSO STI STT SUV
    TSA TTS TV UAE UAW UBS UDP UFC UFO UI UK UN UPS URI URL US USA USB USD USPS USSR UTC UTF UUID UV UX VA VIP VOIP
    VPN XAI YMCA
    """
)
# Words with capitals that have a pronunciation of their own.
PRONUNCIATIONS = {
    "JSON": "Jason", "JPEG": "jay peg", "JPG": "jay peg", "iOS": "I.O.S", "macOS": "Mac O.S", "iPadOS": "iPad O.S",
    "SaaS": "sass", "LaTeX": "lay tech", "SCSI": "scuzzy", "MySQL": "My S.Q.L", "NoSQL": "no S.Q.L",
    "PostgreSQL": "Postgres Q.L", "WYSIWYG": "wizzywig",
}  # fmt: skip
# Hard to pronounce, but not initials.
WORDS_OF_CAPITALS = set_of("HMM SHH BRR PSST TSK PFFT GRR NTH DR MR MRS ST")

# After these a Roman number is a cardinal, after the rulers below an ordinal.
NUMBERED = set_of(
    """
    war chapter part act volume vol section book phase type bowl class title article appendix level stage grade step
    episode season scene mark table figure division schedule category tier unit module generation gen round lesson
    game
    """
)
RULERS = set_of(
    """
    Henry Louis Elizabeth George Charles Edward Richard William James Napoleon Philip Frederick Catherine John Paul
    Pius Leo Benedict Gregory Alexander Nicholas Peter Ivan Ferdinand Alfonso Francis Otto Rudolf Maximilian
    Ramesses Ptolemy Xerxes Darius Cyrus Innocent Clement Urban Sixtus Julius Boniface Celestine Mary Margaret Carl
    Gustav Christian Harald Juan Felipe Leopold Albert Baldwin Malcolm Robert Stephen Murad Mehmed Selim Wilhelm
    Haile
    """
)

# Signs with a name between words. "" is silent.
SIGNS = {
    "&": "and", "@": "at", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "%": "percent",
    "‰": "per mille", "<": "less than", ">": "greater than", "≤": "at most", "≥": "at least", "≈": "about",
    "≠": "is not", "±": "plus or minus", "°": "degrees", "§": "section", "√": "square root of", "∞": "infinity",
    "π": "pi", "∑": "sum of", "∆": "delta", "$": "dollars", "€": "euros", "£": "pounds", "¥": "yen", "¢": "cents",
    "₹": "rupees", "²": "squared", "³": "cubed", "½": "one half", "⅓": "one third", "⅔": "two thirds",
    "¼": "one quarter", "¾": "three quarters", "⅛": "one eighth", "№": "number", "−": "minus",
}  # fmt: skip
# Every sign, when a text is spelled.
SPELLED_SIGNS = SIGNS | {
    ".": "dot", ",": "comma", "-": "dash", "–": "dash", "—": "dash", "_": "underscore", "/": "slash", "\\": "backslash",
    ":": "colon", ";": "semicolon", "!": "exclamation mark", "?": "question mark", "#": "hash", "*": "asterisk",
    "(": "open parenthesis", ")": "close parenthesis", "[": "open bracket", "]": "close bracket", "{": "open brace",
    "}": "close brace", "'": "apostrophe", "’": "apostrophe", '"': "quote", "~": "tilde", "^": "caret", "`": "backtick",
    "|": "bar", " ": "",
}  # fmt: skip
