"""Dates as clients write them for people, in the language of the client.

Rather no date than a wrong one: a month that could be two, an order of numbers that could be two, a zone whose name
means several, all give `None`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from engine.forwarded.calendars import AFTERNOON, DAYS, MONTHS, MORNING, ORDERS, ZONES
from engine.forwarded.labels import normalised

__all__ = ["parse_date", "parse_in_any"]

MAX_DATE = 200
FIRST_YEAR, LAST_YEAR = 1980, 2099  # mail has no other dates
SHORTEST_NAME = 3  # letters of a month; shorter ones are days of the week or particles

CLOCK = re.compile(
    r"(?<![\d.:])(\d{1,2})\s?(?:[:時时點点]|시\s?)\s?(\d{2})(?:\s?[:.分분]\s?(\d{2}))?(?!\d)\s?[秒分분초]?"
)
# Finland, Denmark and Italy write times with dots; then a date in numbers must not be taken for one.
DOTTED_CLOCK = re.compile(r"(?<![\d.])(\d{1,2})\.(\d{2})(?:\.(\d{2}))?(?![\d.])")
HALF = re.compile(r"[ap]\.?\s?m\.?(?!\w)|ö\.?\s?[ös]\.?(?!\w)|[上下午前後晚凌早中]{2}上?|오[전후]|πμ|μμ", re.IGNORECASE)
OFFSET = re.compile(r"(?:(?:GMT|UTC)\s?)?(?<!\d)([+\-−])(\d{1,2})(?::?(\d{2}))?(?!\d)")
OFFSET_BEFORE = re.compile(r"(?:GMT|UTC)\s?([+\-−])(\d{1,2})(?::?(\d{2}))?(?!\d)")  # Chinese, before the time
ZONE_NAME = re.compile(r"(?<![^\W_])([^\W\d_]{1,5})(?![^\W_])")
IN_NUMBERS = re.compile(r"(?<!\d)(\d{1,4})\s?[./\-年년]\s?(\d{1,2})\s?([./\-月월])\s?(\d{1,4})(?!\d)")
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")


def parse_date(text: str, language: str, zone: tzinfo | None = None) -> datetime | None:
    """The date that `text` says in `language`, or `None` where that is not certain.

    Clients seldom write a zone. With one the result has its offset. Without one the time is that of the clock of who
    forwarded, so `zone` should be the zone of the forward's own Date field; the result is naive when it is `None`.
    """
    text = unicodedata.normalize("NFKC", text[:MAX_DATE]).replace("\u200e", "").replace("\u200f", "")
    clock = _clock(text)
    if clock is None:
        return None
    hour, minute, second, start, end = clock
    before, behind = text[:start], text[end:]
    is_certain, offset = _zone(before, behind)
    day = _day(f"{OFFSET_BEFORE.sub(' ', before)} , {_without_zone(behind)}", _language_of(text, language))
    if day is None or not is_certain:
        return None
    try:
        return datetime(*day, hour, minute, second, tzinfo=offset or zone)
    except ValueError:
        return None


def parse_in_any(text: str, languages: Sequence[str], zone: tzinfo | None = None) -> tuple[datetime | None, str]:
    """The date in the first of `languages` that can read it, and which that was; one that knows its day comes first.

    When none can, the other languages are asked, and count where all that can read it agree.
    """
    text = text[:MAX_DATE]
    if _weekday(text, "en") is None:
        languages = sorted(languages, key=lambda each: _weekday(text, each) is None)
    for language in languages:
        if (date := parse_date(text, language, zone)) is not None:
            return date, language
    if IN_NUMBERS.search(text):  # where the order was not certain, other languages do not know it better
        return None, languages[0] if languages else ""
    others = [language for language in MONTHS if language not in languages]
    dates = {date for language in others if (date := parse_date(text, language, zone)) is not None}
    return (dates.pop() if len(dates) == 1 else None), languages[0] if languages else ""


def _clock(text: str) -> tuple[int, int, int, int, int] | None:
    """Hour, minute, second, and where the time of day begins and ends in `text`, its half of the day included."""
    match = CLOCK.search(text) or _last(DOTTED_CLOCK.finditer(text))
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    start, end = match.span()
    half, span = _half(text, start, end)
    start, end = min(start, span[0]), max(end, span[1])
    if half and hour <= 12:
        hour = hour % 12 + (12 if half == "afternoon" else 0)
    return (hour, minute, second, start, end) if hour < 24 and minute < 60 and second < 60 else None


def _last(matches: Iterator[re.Match[str]]) -> re.Match[str] | None:
    return next(iter(deque(matches, maxlen=1)), None)


def _half(text: str, start: int, end: int) -> tuple[str, tuple[int, int]]:
    """Which half of the day is written directly before or behind the time, and where."""
    behind = HALF.match(text, end + (text[end : end + 1] == " "))
    before = _last(HALF.finditer(text, max(0, start - 4), start))
    for match in (behind, before):
        if match:
            mark = re.sub(r"[\s.]", "", match[0]).casefold()
            if mark in AFTERNOON:
                return "afternoon", match.span()
            if mark in MORNING:
                return "morning", match.span()
    return "", (start, end)


def _language_of(text: str, language: str) -> str:
    """English where the text names the day in English: Thunderbird's labels are translated, its dates are not."""
    return language if _weekday(text, language) is not None or _weekday(text, "en") is None else "en"


def _zone(before: str, behind: str) -> tuple[bool, tzinfo | None]:
    """Whether the zone is certain, and its offset; no zone at all is certain, too."""
    if match := OFFSET.search(behind) or OFFSET_BEFORE.search(before):
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        return minutes <= 14 * 60, _offset(minutes if match[1] == "+" else -minutes)
    for match in ZONE_NAME.finditer(behind):
        if match[1].isupper():
            return match[1] in ZONES, _offset(ZONES.get(match[1], 0))
    return True, None


def _offset(minutes: int) -> timezone | None:
    return timezone(timedelta(minutes=minutes)) if abs(minutes) < 24 * 60 else None


def _without_zone(text: str) -> str:
    return OFFSET.sub(" ", text)


def _day(text: str, language: str) -> tuple[int, int, int] | None:
    """Year, month and day."""
    if match := IN_NUMBERS.search(text):
        third = int(match[4]) + (2000 if match[3] == "." and len(match[1]) < 3 == len(match[4]) + 1 else 0)
        return _ordered(int(match[1]), int(match[2]), third, len(match[1]), language, text)
    words = [normalised(word) for word in WORD.findall(text)]
    numbers = [int(word) for word in words if word.isdecimal() and len(word) <= 4]
    years = [number for number in numbers if FIRST_YEAR <= number <= LAST_YEAR]
    days = [number for number in numbers if 1 <= number <= 31]
    month = _month([word for word in words if not word.isdecimal()], language)
    return (years[0], month, days[0]) if len(years) == len(days) == 1 and month else None


def _ordered(first: int, second: int, third: int, width: int, language: str, text: str) -> tuple[int, int, int] | None:
    """Three numbers in the language's order; an order that is not certain is settled by the day of the week."""
    if width == 4:
        readings = {(first, second, third)}
    elif ORDERS.get(language) == "":
        readings = {(third, first, second), (third, second, first)}
    else:
        readings = {(third, second, first)}
    dates = [reading for reading in readings if _exists(*reading)]
    if len(dates) > 1:
        weekday = _weekday(text, language)
        dates = [each for each in dates if datetime(*each).weekday() == weekday]
    return dates[0] if len(dates) == 1 else None


def _exists(year: int, month: int, day: int) -> bool:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return False
    try:
        datetime(year, month, day)
    except ValueError:
        return False
    return True


def _weekday(text: str, language: str) -> int | None:
    shortest = 3 if language == "en" else 2
    for word in map(normalised, WORD.findall(text)):
        for number, forms in enumerate(DAYS.get(language, ())):
            if len(word) >= shortest and any(form.startswith(word) for form in forms):
                return number
    return None


def _month(words: list[str], language: str) -> int | None:
    """The month named; where two words could be it, the first is the day of the week ("mar. 4 mars")."""
    named = [(word, months) for word in words if (months := _months(word, language) or _months(word, "en"))]
    if len(named) > 1 and _is_day(named[0][0], language):
        named = named[1:]
    months = set.union(*(each for _, each in named)) if named else set()
    return months.pop() if len(months) == 1 else None


def _months(word: str, language: str) -> set[int]:
    """The months that a word can be the beginning of; the whole name is that month alone."""
    table = MONTHS.get(language, ())
    if len(word) < SHORTEST_NAME:
        return set()
    whole = {number for number, forms in enumerate(table, 1) if word in forms}
    return whole or {number for number, forms in enumerate(table, 1) if any(form.startswith(word) for form in forms)}


def _is_day(word: str, language: str) -> bool:
    return any(form.startswith(word) for forms in DAYS.get(language, ()) for form in forms)
