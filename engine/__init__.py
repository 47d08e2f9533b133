"""Pure decisions: is this message ours to log, to which contacts, attributed to whom, and why.

    message = read(header_section)
    answers = ... the store's answers to question(capture, message), one a portal ...
    decisions = decide_each(capture, message, answers)

No clock, no database, no network: values in, values out. No answer means that the message concerns nobody here.
"""

from __future__ import annotations

from engine.deciding import decide, decide_each, needs_proof, question, waits_for_parents
from engine.explanation import explain
from engine.message import read

__all__ = ["decide", "decide_each", "explain", "needs_proof", "question", "read", "waits_for_parents"]
