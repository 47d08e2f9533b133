"""The body of one logged mail as a document that a browser may show, whoever wrote the mail.

`safe_document` makes it of HTML, `text_document` of plain text. Both stand alone, hold no script, no form and nothing
that is fetched by being looked at, and are meant for a sandboxed frame, as `srcdoc` or under an address of their own
with `FRAME_HEADERS`. There are three belts: what is not on a list is not in the document (`mail_sieve`); the document
forbids loading and running in a policy of its own; the frame gives it neither scripts nor an origin.

A `srcdoc` obeys the policy of the page around it, too: where that allows no inline styles, the document is shown
without its colours and columns.

How mail looks is kept as far as it can be without harm: tables, colours, sizes and spacing, as inline styles of few
properties with plain values. Style sheets go: selectors and @rules are where CSS fetches and measures. Fonts go: the
reader's own are good. Pictures leave their alternative text. The ground is always light, as those who write HTML mail
suppose; text follows the reader's choice.

`safe_document` may take long, or end its process, on mail that is made for it. It is called in a process of its own
(`mail_body_worker`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby

from onrecord.web.mail_sieve import REL, WEB_ADDRESS, left_out, nesting, sanitised

__all__ = [
    "DOCUMENT_POLICY",
    "FRAME_HEADERS",
    "FRAME_SANDBOX",
    "MAX_HTML",
    "MAX_TEXT",
    "NotShown",
    "SafeDocument",
    "safe_document",
    "text_document",
]

MAX_HTML = 1024 * 1024  # characters; the log keeps no more of a mail (store.parsing.ParseLimits.text)
MAX_TEXT = 1024 * 1024
MAX_DOCUMENT = 4 * 1024 * 1024  # characters; HTML may say little and come to much
MAX_NESTING = 256  # elements in each other; Blink cuts at 512, and each level costs every browser when it lays out
MAX_LINKS = 1000  # in plain text
MAX_GROUPS = 2000  # turns of quotation and answer in plain text
MAX_ADDRESS = 1000  # characters of one of them
MAX_TRIMMED = 20  # characters of punctuation after one

# Links open in a tab that is not sandboxed as the mail is, for their sites would not work in it.
FRAME_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
DOCUMENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
FRAME_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"{DOCUMENT_POLICY}; frame-ancestors 'self'; sandbox {FRAME_SANDBOX}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-DNS-Prefetch-Control": "off",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}

# Conservative: in text, an address is what begins like one and does not look like the end of a sentence.
TEXT_ADDRESS = re.compile(rf"\bhttps?://[^\s\x00-\x20\x7f\\<>\"'`]{{1,{MAX_ADDRESS}}}", re.IGNORECASE)
ENDS_A_SENTENCE = ".,;:!?*_~"
BRACKETS = {")": "(", "]": "[", "}": "{"}
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

MAIL_STYLE = """
:root { color-scheme: light; }
body { margin: 12px; background: #fff; color: #1b1b1b; font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: #0b57c2; }
blockquote { margin: 8px 0; padding-left: 12px; border-left: 3px solid #bbb; }
pre, code, tt, samp, kbd { font-family: ui-monospace, monospace; }
pre { white-space: pre-wrap; }
img { padding: 0 4px; border: 1px dotted #767676; color: #595959; font-size: 14px; }
img:not([alt]), img[alt=""] { display: none; }
"""
TEXT_STYLE = """
:root { color-scheme: light dark; }
body { margin: 12px; font: 16px/1.5 system-ui, sans-serif; white-space: pre-wrap; overflow-wrap: anywhere; }
a { color: LinkText; }
.quoted { padding-left: 10px; border-left: 3px solid GrayText; }
"""


class NotShown(Exception):
    """The mail is not shown as HTML; the text says why, to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeDocument:
    """A whole HTML document, and what whoever shows it should say beside it.

    `remote` counts what would have been fetched from elsewhere and is left out, `embedded` pictures that came with the
    mail and are left out. `note` is why the text is shown in place of the HTML, or that not all is shown.
    """

    html: str
    remote: int = 0
    embedded: int = 0
    note: str | None = None


def safe_document(html: str) -> SafeDocument:
    """The document for the HTML of a mail. Raises `NotShown` when it is larger or deeper than is shown.

    Call it in a process that may take long, grow or die: see above.
    """
    if len(html) > MAX_HTML:
        raise NotShown("it is too large")
    body = sanitised(html)
    if len(body) > MAX_DOCUMENT:
        raise NotShown("it becomes too large")
    if nesting(body) > MAX_NESTING:
        raise NotShown("it is nested too deeply")
    remote, embedded = left_out(html)
    return SafeDocument(html=_document(body, MAIL_STYLE), remote=remote, embedded=embedded)


def text_document(text: str, *, note: str | None = None) -> SafeDocument:
    """The document for plain text: as it was written, with links, and quotations marked. Quick whatever the text is."""
    if len(text) > MAX_TEXT:
        note = f"{note}; the text is shown in part" if note else "the text is shown in part"
    shown = CONTROLS.sub("\ufffd", text[:MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n"))
    links = _Links()
    body = "".join(_paragraph(part, links, is_quoted=is_quoted) for part, is_quoted in _groups(shown))
    return SafeDocument(html=_document(body, TEXT_STYLE), note=note)


def _document(body: str, style: str) -> str:
    """`body` in a document of its own.

    Browsers look up the names in links ahead of a click, which tells whoever wrote them that the mail was opened: that
    is turned off.
    """
    return (
        '<!DOCTYPE html>\n<html><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(DOCUMENT_POLICY)}">'
        '<meta http-equiv="x-dns-prefetch-control" content="off">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Message</title><style>{style}</style></head>\n<body dir="auto">{body}</body></html>\n'
    )


def _groups(text: str) -> list[tuple[str, bool]]:
    """The text in turns of quotation and answer, if they are not more than anybody writes."""
    lines = groupby(text.split("\n"), key=lambda line: line.startswith(">"))
    groups = [("\n".join(some), is_quoted) for is_quoted, some in lines]
    return groups if len(groups) <= MAX_GROUPS else [(text, False)]


class _Links:
    """Counts the links of one text."""

    def __init__(self) -> None:
        self._left = MAX_LINKS

    def marked(self, text: str) -> Iterator[str]:
        """`text` as HTML."""
        end = 0
        for match in TEXT_ADDRESS.finditer(text):
            if not self._left:
                break
            address = _without_end_of_sentence(match[0])
            if not WEB_ADDRESS.fullmatch(address):
                continue
            self._left -= 1
            yield escape(text[end : match.start()])
            yield f'<a href="{escape(address)}" target="_blank" rel="{REL}">{escape(address)}</a>'
            end = match.start() + len(address)
        yield escape(text[end:])


def _paragraph(text: str, links: _Links, *, is_quoted: bool) -> str:
    kind = ' class="quoted"' if is_quoted else ""
    return f'<div{kind} dir="auto">{"".join(links.marked(text))}\n</div>'


def _without_end_of_sentence(address: str) -> str:
    """Without the punctuation and the closing brackets that belong to the text around it."""
    for _ in range(MAX_TRIMMED):
        end = address[-1]
        is_unopened = end in BRACKETS and address.count(end) > address.count(BRACKETS[end])
        if end not in ENDS_A_SENTENCE and not is_unopened:
            break
        address = address[:-1]
    return address
