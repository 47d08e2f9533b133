"""Mail inside mail: the original of a forward, and who redirected a message (rules.md 7.3).

    find_inline(text, zone=outer_date.tzinfo)    the original that a text carries, in the layouts of common clients
    html_text(html)                              the text to look into when there is no text/plain
    parse_date(text, language)                   dates as people's mail clients write them
    is_redirect(message), redirected_by(message) Resent-* fields

Attached originals are parts of MIME and found by `store.originals`. Everything here is pure, bounded and never raises.
"""

from __future__ import annotations

from engine.forwarded.dates import parse_date
from engine.forwarded.inline import Inline, find_inline
from engine.forwarded.redirect import is_redirect, redirected_by
from engine.forwarded.rendering import html_text

__all__ = ["Inline", "find_inline", "html_text", "is_redirect", "parse_date", "redirected_by"]
