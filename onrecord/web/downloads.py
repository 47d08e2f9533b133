"""The header fields of a download: an attachment, or a whole message, handed over to be saved and never to be shown.

The name that a mail gives is data for a header field, nothing more: content is found by its hash. What is left of it
cannot lead out of a folder, hide its end, be a device of Windows or an option of a command.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

__all__ = ["download_headers", "harmless_name", "harmless_type", "message_headers"]

UNNAMED = "attachment"
MAX_NAME = 200  # octets; file systems take 255, and browsers add to a name that exists
MAX_EXTENSION = 20  # octets, the dot included, that are kept when a name is cut
MAX_READ = 10_000  # characters of a name that are looked at
PLAIN_TYPE = "application/octet-stream"
# None of these is a document with scripts in it for any browser. message/rfc822 is not here: Chrome takes it for MHTML.
TYPES = frozenset((
    "application/gzip", "application/msword", "application/pdf", "application/rtf", "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint", "application/vnd.oasis.opendocument.presentation",
    "application/vnd.oasis.opendocument.spreadsheet", "application/vnd.oasis.opendocument.text",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "application/zip",
    "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav", "image/bmp", "image/gif", "image/heic", "image/jpeg",
    "image/png", "image/tiff", "image/webp", "text/csv", "text/plain", "video/mp4", "video/mpeg", "video/webm",
))  # fmt: skip
SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
# `%` stays in the name itself, and goes where browsers would decode it (`_quotable`).
FORBIDDEN = frozenset('<>:"/\\|?*')
# Devices of Windows, with any extension, the superscript digits included.
DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z)", re.IGNORECASE)
ATTR_CHAR = "!#$&+-.^_`|~"  # RFC 8187 §3.2.1, letters and digits aside


def download_headers(*, name: str, kind: str) -> dict[str, str]:
    """The header fields for an attachment that a mail names `name` and says to be of type `kind`."""
    return {
        "Content-Type": harmless_type(kind),
        "Content-Disposition": _disposition(harmless_name(name)),
        **SAFETY,
    }


def message_headers(*, name: str) -> dict[str, str]:
    """The header fields for the octets of a whole message, such as `message_headers(name=record.subject)`."""
    whole = re.sub(r"[/\\]", "_", name)  # a subject is no path
    return download_headers(name=f"{harmless_name(whole, unnamed='message')}.eml", kind=PLAIN_TYPE)


def harmless_type(kind: str) -> str:
    """A type that no browser runs: the one said, without its parameters, if it is in the list."""
    bare = kind.partition(";")[0].strip().lower()
    return bare if bare in TYPES else PLAIN_TYPE


def harmless_name(name: str, *, unnamed: str = UNNAMED) -> str:
    """A file name for every system, as near to `name` as can be; `unnamed` where nothing is left.

    The last part of a path; without characters that are not seen or turn the order of others around; without those
    that mean something to Windows, in their wide forms too, which it may make narrow.
    """
    last = re.split(r"[/\\]", name[:MAX_READ].rstrip("/\\"))[-1]
    seen = unicodedata.normalize("NFC", "".join(map(_harmless, last)))
    trimmed = re.sub(r" {2,}", " ", seen).strip(" .")
    if trimmed.startswith(("-", "~")):
        trimmed = "_" + trimmed[1:]
    if DEVICE.match(trimmed) or DEVICE.match(unicodedata.normalize("NFKC", trimmed)):
        trimmed = "_" + trimmed
    return _cut(trimmed) or unnamed


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\r\n" or category.startswith("Z"):
        return " "
    if category in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return ""
    return "_" if FORBIDDEN.intersection(unicodedata.normalize("NFKC", character)) else character


def _cut(name: str) -> str:
    """At most `MAX_NAME` octets of it, with its extension if that is short."""
    if len(name.encode()) <= MAX_NAME:
        return name
    stem, dot, extension = name.rpartition(".")
    end = dot + extension
    if not stem or len(end.encode()) > MAX_EXTENSION:
        stem, end = name, ""
    kept = stem.encode()[: MAX_NAME - len(end.encode())].decode("utf-8", "ignore")
    return kept.rstrip(" .") + end


def _disposition(name: str) -> str:
    """`name` twice, as RFC 6266 §4.3 has it: for those who know RFC 8187 §3.2, and in ASCII for the others."""
    return f"attachment; filename=\"{_quotable(name)}\"; filename*=UTF-8''{quote(name, safe=ATTR_CHAR)}"


def _quotable(name: str) -> str:
    """`name` in ASCII, without what a quoted string escapes and browsers decode; harmless again, for it is another."""
    bare = unicodedata.normalize("NFKD", name)
    bare = "".join(each for each in bare if not unicodedata.combining(each))
    return harmless_name("".join(each if " " <= each <= "~" and each != "%" else "_" for each in bare))
