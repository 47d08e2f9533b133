"""What a browser would make of a document, by html5lib, which follows the parsing rules of the HTML standard.

`breaches` lists all that a shown mail must not hold, independently of the code that made it: the lists here are short
and say what is dangerous, and those of `onrecord.web.mail_sieve` what is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import html5lib

from onrecord.web.mail_sieve import ATTRIBUTES, LINK_ATTRIBUTES, PROPERTIES, TAGS

__all__ = ["breaches", "elements", "mail_elements", "own_head"]

XHTML = "{http://www.w3.org/1999/xhtml}"
HARMFUL_CSS = re.compile(r"url|\(.*[:/]|expression|@|\\|/\*|position|behaviou?r|binding|var\(|-\d|<", re.IGNORECASE)
NEVER_TAGS = frozenset((
    "script", "style", "svg", "math", "iframe", "object", "embed", "form", "input", "button", "select", "textarea",
    "base", "meta", "link", "video", "audio", "source", "picture", "template", "noscript", "title", "frame", "image",
))  # fmt: skip
NEVER_ATTRIBUTES = re.compile(
    r"on.*|.*src.*|.*action|id|class|name|background|poster|data.*|ping|download|cite|http-equiv|.*:.*|usemap|is|slot",
    re.IGNORECASE,
)
LINK = re.compile(r"https?://\S+|mailto:[^?\s]+", re.IGNORECASE)


def elements(document: str, *, scripting: bool) -> list[Element]:
    """Every element, comments aside."""
    tree = html5lib.parse(document, treebuilder="etree", scripting=scripting)
    return [each for each in tree.iter() if isinstance(each.tag, str)]


def mail_elements(document: str, *, scripting: bool) -> list[Element]:
    """Those within the body, which the mail determines."""
    tree = html5lib.parse(document, treebuilder="etree", scripting=scripting)
    body = tree.find(f"{XHTML}body")
    assert body is not None
    assert [each.tag for each in tree] == [f"{XHTML}head", f"{XHTML}body"]
    assert dict(body.attrib) == {"dir": "auto"}
    return [each for each in body.iter() if each is not body]


def own_head(document: str) -> list[str]:
    """The names of what is in the head."""
    head = html5lib.parse(document, treebuilder="etree").find(f"{XHTML}head")
    assert head is not None
    return [str(each.tag).removeprefix(XHTML) for each in head]


def breaches(document: str) -> list[str]:
    """What the document holds that no shown mail may hold, with and without scripts in the browser."""
    found: list[str] = []
    for scripting in (True, False):
        for element in mail_elements(document, scripting=scripting):
            found.extend(_of_element(element))
    if own_head(document) != ["meta", "meta", "meta", "meta", "meta", "title", "style"]:
        found.append("the head is not ours")
    return found


def _of_element(element: Element) -> Iterator[str]:
    if not isinstance(element.tag, str):
        yield "a comment"
        return
    tag = element.tag.removeprefix(XHTML)
    if tag not in TAGS or tag in NEVER_TAGS:
        yield f"element {tag}"
    for name, value in element.attrib.items():
        if not _may_stand(tag, name, value):
            yield f"attribute {name} of {tag}"
        elif name == "href" and not LINK.fullmatch(value):
            yield f"link {value!r}"
        elif name == "style":
            yield from _of_style(value)
    if tag == "a" and any(element.get(name) != value for name, value in LINK_ATTRIBUTES.items()):
        yield "a link without its bounds"


def _may_stand(tag: str, name: str, value: str) -> bool:
    if (tag, name, value) == ("div", "class", "quoted"):  # of text documents
        return True
    if tag == "a" and name in LINK_ATTRIBUTES:
        return True
    return name in ATTRIBUTES["*"] | ATTRIBUTES.get(tag, set()) and not NEVER_ATTRIBUTES.fullmatch(name)


def _of_style(value: str) -> Iterator[str]:
    for declaration in value.split(";"):
        name, _, rest = declaration.partition(":")
        if name not in PROPERTIES:
            yield f"property {name}"
        if HARMFUL_CSS.search(rest):
            yield f"value {rest}"
