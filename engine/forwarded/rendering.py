"""HTML as text, well enough to find a header block in it.

Blocks become lines, quotations get "> ", drawn rules stay rules, links to addresses show the address. It is no
renderer for people. The tokenizer is our own: that of the standard library takes time in the square of its input on
hostile HTML (seconds for 80 kB of unfinished comments in Python 3.11). Here every character is in exactly one token,
and what is searched for and missing is not searched for again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

__all__ = ["MAX_HTML", "html_text", "tokens"]

MAX_HTML = 2 * 1024 * 1024  # characters read
MAX_TEXT = 1024 * 1024  # characters written
MAX_TAG = 4096  # characters of a tag that are looked into
MAX_DEPTH = 20  # of quotations
LINES = frozenset((
    "address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl", "dt", "fieldset", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "html", "li", "main", "nav", "ol", "p", "pre",
    "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
))  # fmt: skip
CELLS = frozenset(("td", "th"))
UNSEEN = frozenset(("script", "style", "title"))
ADDRESS = re.compile(r"<[^\s<>@]{1,128}@[^\s<>@]{1,255}>")  # written without escaping it, as some scripts do
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});?")
SPACE = re.compile(r"[ \t\r\n\f\u00a0\u200b]+")
TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:]{0,30})")
MAILTO = re.compile(r"href\s{0,9}=\s{0,9}[\"']?\s{0,9}mailto:([^\"'\s>?]{1,320})", re.IGNORECASE)
RULE = "________________________________"


def html_text(html: str) -> str:
    """The text of `html`, bounded. Never raises, and takes time in proportion to its input."""
    text = _Text()
    unseen = ""
    for token in tokens(html[:MAX_HTML]):
        tag = TAG.match(token)
        if unseen:
            unseen = "" if tag and tag[1] and tag[2].lower() == unseen else unseen
        elif tag is None:
            if not token.startswith(("<!", "<?", "</")):
                text.write(token)
        elif ADDRESS.fullmatch(token):
            text.write(token)
        elif not tag[1] and tag[2].lower() in UNSEEN and not token.endswith("/>"):
            unseen = tag[2].lower()
        else:
            text.tag(tag[2].lower(), closes=bool(tag[1]), token=token[:MAX_TAG])
        if text.is_full:
            break
    return text.finish()


def tokens(html: str) -> Iterator[str]:
    """Tags, comments, and the text between them; joined they are `html`."""
    search = _Search(html)
    position = 0
    while position < len(html):
        start = search.find("<", position)
        if start != position:
            stop = start if start >= 0 else len(html)
            yield html[position:stop]
            position = stop
            continue
        stop = _end_of_tag(html, search, position)
        yield html[position:stop]
        position = stop


class _Search:
    """`find` that knows what is not there any more."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._missing: dict[str, int] = {}

    def find(self, what: str, start: int) -> int:
        if start >= self._missing.get(what, start + 1):
            return -1
        place = self._text.find(what, start)
        if place < 0:
            self._missing[what] = start
        return place


def _end_of_tag(html: str, search: _Search, position: int) -> int:
    """Where the tag or comment that begins at `position` ends; a "<" that begins none is a token of its own."""
    if html.startswith("<!--", position):
        end = search.find("-->", position)
        return end + 3 if end >= 0 else position + 4
    following = html[position + 1 : position + 2]
    if not (following.isalpha() or following in ("/", "!", "?")):
        return position + 1
    end = search.find(">", position)
    if end < 0:
        return position + 1
    if html.count('"', position, end) % 2:  # a ">" inside an attribute
        quote = search.find('"', end)
        behind = search.find(">", quote) if quote >= 0 else -1
        end = behind if behind >= 0 else end
    return end + 1


class _Text:
    """What has been written: lines with their depth of quotation."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._line: list[str] = []
        self._size = 0
        self._depth = 0
        self._pre = 0
        self._link: str | None = None
        self._link_text: list[str] = []

    @property
    def is_full(self) -> bool:
        return self._size >= MAX_TEXT

    def write(self, token: str) -> None:
        text = ENTITY.sub(lambda match: unescape(match[0]), token)
        if self._pre:
            first, *more = text.replace("\r", "").split("\n")
            self._put(first)
            for line in more:
                self._break()
                self._put(line)
        else:
            self._put(SPACE.sub(" ", text))

    def tag(self, name: str, *, closes: bool, token: str) -> None:
        if name == "br":
            self._break()
        elif name == "hr":
            self._end_line()
            self._put(RULE)
            self._break()
        elif name in LINES:
            self._end_line()
            if name == "blockquote":
                self._depth = max(0, self._depth + (-1 if closes else 1))
            elif name == "pre":
                self._pre = max(0, self._pre + (-1 if closes else 1))
            elif name == "p" and not closes:
                self._break()
        elif name in CELLS and closes:
            self._put(" ")
        elif name == "a":
            self._end_link() if closes else self._begin_link(token)

    def finish(self) -> str:
        """Everything as one text."""
        self._end_link()
        self._end_line()
        return "".join(self._out)

    def _begin_link(self, token: str) -> None:
        self._end_link()
        match = MAILTO.search(token)
        self._link = unescape(match[1]) if match else None
        self._link_text = []

    def _end_link(self) -> None:
        """Behind the link's words its address, unless they say it."""
        link, self._link = self._link, None
        if link and link.casefold() not in "".join(self._link_text).casefold():
            self._put(f" <{link}>")

    def _put(self, text: str) -> None:
        if not self._pre and text[:1] == " " and (not self._line or self._line[-1][-1:] == " "):
            text = text[1:]
        if text:
            self._line.append(text)
            self._size += len(text)
            if self._link is not None:
                self._link_text.append(text)

    def _end_line(self) -> None:
        if self._line:
            self._break()

    def _break(self) -> None:
        line = "".join(self._line).rstrip()
        self._line.clear()
        prefix = "> " * min(self._depth, MAX_DEPTH)
        self._out.append(f"{prefix}{line}\n")
        self._size += len(prefix) + 1
