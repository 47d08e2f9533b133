"""What people type to find something, as the full-text index asks for it."""

from __future__ import annotations

import re

__all__ = ["QueryRefused", "beginnings_wanted", "portal_word", "words_wanted"]

MAX_QUERY = 300  # characters
MAX_TERMS = 20
LEAST_BEFORE_STAR = 3  # fewer letters begin too many words
TERM = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))')


class QueryRefused(ValueError):
    """What was typed cannot be searched for; the text says why, and what to do."""


def words_wanted(typed: str) -> str:
    """What people type, as the index asks for it: words, "words in order", beginnings* of words, -none of these.

    Raises `QueryRefused`.
    """
    if len(typed) > MAX_QUERY:
        raise QueryRefused(f"This is too long to be searched for; write at most {MAX_QUERY} characters.")
    with_: list[str] = []
    without: list[str] = []
    for sign, phrase, word in TERM.findall(typed):
        wanted = phrase or word
        if not any(each.isalnum() for each in wanted):
            continue
        is_beginning = not phrase and wanted.endswith("*")
        if is_beginning and len(wanted.rstrip("*")) < LEAST_BEFORE_STAR:
            raise QueryRefused(f"Write at least {LEAST_BEFORE_STAR} letters before *.")
        (without if sign else with_).append(f'"{wanted.rstrip("*")}"' + (" *" if is_beginning else ""))
    if not with_:
        raise QueryRefused("Write at least one word that is to be found.")
    if len(with_) + len(without) > MAX_TERMS:
        raise QueryRefused(f"These are too many words; write at most {MAX_TERMS}.")
    return f"({' AND '.join(with_)}{''.join(f' NOT {each}' for each in without)})"


def beginnings_wanted(typed: str) -> str:
    """Contacts of which some word begins with each of the words typed; "" when there is none in it."""
    words = [each for each in typed.split()[:MAX_TERMS] if any(one.isalnum() for one in each)]
    return " AND ".join('"{}" *'.format(each.replace('"', " ")) for each in words)


def portal_word(portal: int) -> str:
    """The word that all emails of a portal have, and that no mail has: its first character is of private use."""
    return f"\ue000{portal}"
