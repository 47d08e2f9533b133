"""What is left of the HTML of a mail: lists of elements, attributes and values, and nothing that is on none of them.

nh3 parses as browsers do and drops what is not listed; the values of attributes are read here. `sanitised` is a
fragment, in which every element is closed and `<` stands nowhere but at a tag.
"""

from __future__ import annotations

import re

import nh3

__all__ = [
    "ATTRIBUTES",
    "LINK_ATTRIBUTES",
    "PROPERTIES",
    "REL",
    "TAGS",
    "WEB_ADDRESS",
    "left_out",
    "nesting",
    "sanitised",
]

# No element here has raw text in it or belongs to SVG or MathML: so what is written is read as it is meant, and there
# is nothing for a second parser to understand otherwise (mutation XSS).
TAGS = frozenset((
    "a", "abbr", "acronym", "address", "article", "aside", "b", "bdi", "bdo", "big", "blockquote", "br", "caption",
    "center", "cite", "code", "col", "colgroup", "dd", "del", "dfn", "div", "dl", "dt", "em", "figcaption", "figure",
    "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol",
    "p", "pre", "q", "s", "samp", "section", "small", "span", "strike", "strong", "sub", "sup", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "tt", "u", "ul", "var", "wbr",
))  # fmt: skip
# These go with all that is in them: it is no text of the mail, or it is parsed by rules of its own.
UNSEEN = frozenset((
    "applet", "audio", "canvas", "embed", "frameset", "iframe", "math", "noembed", "noframes", "noscript", "object",
    "script", "select", "style", "svg", "template", "textarea", "title", "video",
))  # fmt: skip
EVERYWHERE = frozenset(("align", "dir", "lang", "style"))
CELL = frozenset(("bgcolor", "colspan", "height", "nowrap", "rowspan", "valign", "width"))
ROWS = frozenset(("bgcolor", "valign"))
# `title` is for abbreviations alone: on a link it is a tooltip that can lie about where the link goes.
ATTRIBUTES: dict[str, set[str]] = {
    "*": set(EVERYWHERE),
    "a": {"href"},
    "abbr": {"title"},
    "acronym": {"title"},
    "col": {"span", "width"},
    "colgroup": {"span", "width"},
    "font": {"color", "size"},
    "hr": {"size", "width"},
    "img": {"alt"},
    "li": {"value"},
    "ol": {"reversed", "start", "type"},
    "table": {"bgcolor", "border", "cellpadding", "cellspacing", "width"},
    "tbody": set(ROWS),
    "td": set(CELL),
    "tfoot": set(ROWS),
    "th": set(CELL),
    "thead": set(ROWS),
    "tr": set(ROWS),
    "ul": {"type"},
}
LINK_SCHEMES = frozenset(("http", "https", "mailto"))
REL = "noopener noreferrer nofollow"
TARGET = "_blank"
LINK_ATTRIBUTES = {"rel": REL, "target": TARGET}  # which every link has, whatever the mail says

WORD = r"[a-z][a-z-]{0,30}"
HEX = r"#[0-9a-f]{3,8}"
COLOUR = rf"(?:{HEX}|{WORD}|(?:rgb|hsl)a?\([0-9.,% /]{{1,60}}\))"
# Nothing negative: that is how text is laid over other text.
LENGTH = r"(?:\d{1,4}(?:\.\d{1,6})?|\.\d{1,6})(?:px|pt|pc|em|rem|ex|ch|cm|mm|in|%)?"
PLAIN = re.compile(rf"(?:{LENGTH}|{COLOUR})(?:[ ,]{{1,3}}(?:{LENGTH}|{COLOUR})){{0,5}}", re.IGNORECASE)
# A style is kept when it is in this list and its value is plain: lengths, colours and words, of which none calls for
# anything. Not here are those that take a mail out of its place or fetch: position, float, transform, filter, content,
# cursor, list-style and background other than by colour, animation, transition, and custom properties.
PROPERTIES = frozenset((
    "background", "background-color", "border-collapse", "border-color", "border-radius", "border-spacing",
    "border-style", "border-width", "color", "direction", "display", "font-size", "font-style", "font-variant",
    "font-weight", "height", "letter-spacing", "line-height", "list-style-type", "max-width", "min-width",
    "text-align", "text-decoration", "text-indent", "text-transform", "vertical-align", "white-space", "width",
    "border", "border-bottom", "border-left", "border-right", "border-top",
    "margin", "margin-bottom", "margin-left", "margin-right", "margin-top",
    "padding", "padding-bottom", "padding-left", "padding-right", "padding-top",
))  # fmt: skip
MAX_STYLE = 2000  # characters of one attribute

TEXT_VALUE = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f]{0,1000}")
COLOUR_VALUE = re.compile(rf"{HEX}|{WORD}|[0-9a-f]{{6}}", re.IGNORECASE)
SIZE_VALUE = re.compile(r"\d{1,4}%?")
SMALL_VALUE = re.compile(r"\d{1,2}")
SPAN_VALUE = re.compile(r"[1-9]\d?")  # larger ones make a browser lay out a table of millions of cells
NUMBER_VALUE = re.compile(r"-?\d{1,6}")
SWITCH_VALUE = re.compile(r"")
VALUES = {
    "align": re.compile(r"left|right|center|middle|justify|top|bottom", re.IGNORECASE),
    "alt": TEXT_VALUE,
    "bgcolor": COLOUR_VALUE,
    "border": SMALL_VALUE,
    "cellpadding": SMALL_VALUE,
    "cellspacing": SMALL_VALUE,
    "color": COLOUR_VALUE,
    "colspan": SPAN_VALUE,
    "dir": re.compile(r"ltr|rtl|auto", re.IGNORECASE),
    "height": SIZE_VALUE,
    "lang": re.compile(r"[A-Za-z0-9-]{1,35}"),
    "nowrap": SWITCH_VALUE,
    "reversed": SWITCH_VALUE,
    "rowspan": SPAN_VALUE,
    "size": re.compile(r"[+-]?\d"),
    "span": SPAN_VALUE,
    "start": NUMBER_VALUE,
    "title": TEXT_VALUE,
    "type": re.compile(r"[1aAiI]|disc|circle|square"),
    "valign": re.compile(r"top|middle|bottom|baseline", re.IGNORECASE),
    "value": NUMBER_VALUE,
    "width": SIZE_VALUE,
}

# What a browser fetches by itself, as elements and attributes, so that it can be counted.
FETCHING_TAGS = frozenset((
    "audio", "embed", "frame", "iframe", "image", "img", "input", "link", "object", "picture", "source", "svg", "track",
    "use", "video", "table", "tbody", "tr", "td", "th",
))  # fmt: skip
FETCHING = frozenset(("background", "data", "href", "poster", "src", "srcset"))
# They are only counted. A scheme that is not here is not fetched by anybody and counts for nothing.
COUNTED_SCHEMES = frozenset(("blob", "cid", "data", "file", "ftp", "http", "https", "mid"))
EMBEDDED = ("blob:", "cid:", "data:", "mid:")
STYLE_FETCH = re.compile(r"""(?:url\(|@import)[\s"']{0,20}(?:https?:|ftp:)?[/\\]{2}""", re.IGNORECASE)

MAX_ADDRESS = 2000  # characters of a link, about what browsers and servers agree on
WHITE_SPACE_OF_URLS = re.compile(r"[\t\r\n]")  # browsers read addresses without it
WEB_ADDRESS = re.compile(rf"https?://[^\s\x00-\x20\x7f\\]{{1,{MAX_ADDRESS}}}", re.IGNORECASE)
MAIL_ADDRESS = re.compile(r"mailto:[^\s\x00-\x20\x7f?\\]{1,400}", re.IGNORECASE)
# What nh3 writes has its `<` escaped in text and attributes: each that is left begins a tag.
WRITTEN_TAG = re.compile(r"<(/?)([a-z0-9]+)")
VOID = frozenset(("br", "col", "hr", "img", "wbr"))


def sanitised(html: str) -> str:
    """`html` as a fragment of what is listed. May take long, or end the process."""
    return nh3.clean(
        html,
        tags=set(TAGS),
        clean_content_tags=set(UNSEEN),
        attributes=ATTRIBUTES,
        attribute_filter=_kept_value,
        link_rel=REL,
        set_tag_attribute_values={"a": {"target": TARGET}},
        url_schemes=set(LINK_SCHEMES),
        url_relative="deny",
        strip_comments=True,
    )


def _kept_value(tag: str, name: str, value: str) -> str | None:
    """What is left of the value of an attribute that is on the list; `None` drops the attribute."""
    if name == "href":
        return _link(value)
    if name == "style":
        return _style(value) or None
    if tag == "a" and name in LINK_ATTRIBUTES:
        return LINK_ATTRIBUTES[name]
    pattern = VALUES.get(name)
    return value if pattern is not None and pattern.fullmatch(value) else None


def _link(value: str) -> str | None:
    """Where a link goes, absolute and with two slashes, or to an address.

    An address goes without what is to be written to it: mail programs have been told that way to attach files.
    """
    address = WHITE_SPACE_OF_URLS.sub("", value).strip(" ")
    if WEB_ADDRESS.fullmatch(address):
        return address
    match = MAIL_ADDRESS.match(address)
    return match[0] if match else None


def _style(value: str) -> str:
    """The declarations that are plain. One that has a comment, an escape, a quote or a function is not."""
    kept = (_declaration(each) for each in value[:MAX_STYLE].split(";"))
    return ";".join(each for each in kept if each)


def _declaration(text: str) -> str | None:
    name, _, value = text.partition(":")
    name = name.strip().lower()
    value = re.sub(r"\s{0,20}!\s{0,20}important\s*\Z", "", value.strip(), flags=re.IGNORECASE)
    return f"{name}:{value}" if name in PROPERTIES and PLAIN.fullmatch(value) else None


def nesting(body: str) -> int:
    """How deep elements lie in each other in what nh3 has written, which closes each."""
    depth = deepest = 0
    for match in WRITTEN_TAG.finditer(body):
        if match[2] not in VOID:
            depth += -1 if match[1] else 1
            deepest = max(deepest, depth)
    return deepest


def left_out(html: str) -> tuple[int, int]:
    """How many things of elsewhere, and how many that came with the mail, a browser would fetch by itself.

    The same parser reads the mail once more with the elements that fetch, for it tells of no others. What it writes is
    thrown away. Style sheets are searched as text.
    """
    counted = [0, 0]

    def count(tag: str, name: str, value: str) -> str | None:
        address = WHITE_SPACE_OF_URLS.sub("", value).strip().lower()
        fetches = tag in FETCHING_TAGS and name in FETCHING  # asked for what is not listed, too
        if fetches and address and not address.startswith("#"):
            counted[address.startswith(EMBEDDED)] += 1
        return None

    nh3.clean(
        html,
        tags=set(FETCHING_TAGS),
        clean_content_tags={"script", "style"},
        attributes={tag: set(FETCHING) for tag in FETCHING_TAGS},
        attribute_filter=count,
        url_schemes=set(COUNTED_SCHEMES),
    )
    in_styles = sum(1 for _ in STYLE_FETCH.finditer(html))
    return counted[0] + in_styles, counted[1]
