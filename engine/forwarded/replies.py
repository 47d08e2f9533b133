"""Lines that introduce a quoted mail in an answer ("On Monday Kim wrote:").

What is below such a line belongs to a mail that has no header block here, so nothing in it is the outermost original.
A line that only says that somebody wrote is no such line: it also names the day, the time or the address.
"""

from __future__ import annotations

import re

__all__ = ["is_attribution"]

MAX_ATTRIBUTION = 400
WROTE = (
    "wrote", "schrieb", "geschrieben", "a écrit", "escribió", "ha scritto", "scrisse", "schreef", "geschreven",
    "escreveu", "skrev", "følgende", "följande", "kirjoitti", "napisał", "napisała", "pisze", "napsal", "napsala",
    "napísal", "napísala", "написал", "написала", "пишет", "написав", "пише", "yazdı", "a scris", "írta",
    "napisao", "napisala", "va escriure", "έγραψε",
)  # fmt: skip
# Of languages that put nothing between words.
WROTE_JOINED = ("のメール", "書きました", "のメッセージ", "写道", "寫道", "撰寫", "작성")
SAYS_WROTE = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, WROTE))})(?!\w)|{'|'.join(map(re.escape, WROTE_JOINED))}")
NAMES_A_DATE_OR_ADDRESS = re.compile(r"\d[^\d]*\d|\S@\S")


def is_attribution(line: str, before: str) -> bool:
    """Whether `line`, or it together with the line `before` it, introduces a quoted mail."""
    if not line.endswith((":", "：")):
        return False
    return any(
        len(text) <= MAX_ATTRIBUTION
        and SAYS_WROTE.search(text.casefold()) is not None
        and NAMES_A_DATE_OR_ADDRESS.search(text) is not None
        for text in (line, f"{before} {line}")
    )
