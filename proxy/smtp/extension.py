"""Extensions: the EHLO reply of the provider and what of it our client is told (RFC 5321 §4.1.1.1).

We advertise what the provider has and we can carry. What is not in `CARRIED` is not advertised: XCLIENT and ETRN are
between servers, BURL needs an IMAP server of the provider's, STARTTLS and AUTH are ours to offer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Extensions", "advertise", "common", "mechanisms", "parse_extensions"]

Extensions = Mapping[bytes, bytes]
"""Keyword in capitals to the parameters as written."""

CARRIED = (
    b"SIZE",  # RFC 1870
    b"8BITMIME",  # RFC 6152
    b"SMTPUTF8",  # RFC 6531
    b"PIPELINING",  # RFC 2920
    b"ENHANCEDSTATUSCODES",  # RFC 2034
    b"DSN",  # RFC 3461
    b"CHUNKING",  # RFC 3030
    b"BINARYMIME",  # RFC 3030
    b"DELIVERBY",  # RFC 2852
    b"MT-PRIORITY",  # RFC 6710
    b"REQUIRETLS",  # RFC 8689
    b"FUTURERELEASE",  # RFC 4865
    b"LIMITS",  # RFC 9422
)


def parse_extensions(texts: Iterable[bytes]) -> dict[bytes, bytes]:
    """Reads the lines of an EHLO reply but the first. Of a keyword named twice the first stands.

    quirk_auth_equals: "AUTH=LOGIN PLAIN" is how servers of the last century spelt AUTH; the keyword is never valid.
    """
    found: dict[bytes, bytes] = {}
    for text in texts:
        keyword, _, parameters = text.strip().partition(b" ")
        found.setdefault(keyword.upper(), parameters.strip())
    found.pop(b"", None)
    return found


def mechanisms(extensions: Extensions) -> list[bytes]:
    """The SASL mechanisms that can be relayed step by step.

    Channel binding (`-PLUS`) ties a login to one TLS connection and there are two here; ANONYMOUS is no login.
    """
    offered = extensions.get(b"AUTH", b"").upper().split()
    return [each for each in offered if not each.endswith(b"-PLUS") and each != b"ANONYMOUS"]


def advertise(
    hostname: bytes,
    extensions: Extensions,
    *,
    max_size: int,
    max_recipients: int,
    offered: list[bytes],
    starttls: bool,
) -> bytes:
    """Our EHLO reply. `offered` mechanisms are none where a login would go in clear, or was made already."""
    lines = [hostname]
    for keyword in CARRIED:
        if keyword in extensions and (keyword != b"BINARYMIME" or b"CHUNKING" in extensions):
            lines.append(_line(keyword, extensions[keyword], max_size, max_recipients))
    if offered:
        lines.append(b"AUTH " + b" ".join(offered))
    if starttls:
        lines.append(b"STARTTLS")
    return b"".join([b"250-" + line + b"\r\n" for line in lines[:-1]] + [b"250 " + lines[-1] + b"\r\n"])


def common(offers: Iterable[Extensions]) -> dict[bytes, bytes]:
    """What every one of several providers carries: the smallest SIZE, the mechanisms all have, no other parameters."""
    lists = list(offers)
    if not lists:
        return {}
    shared = {keyword: b"" for keyword in lists[0] if all(keyword in each for each in lists)}
    if b"SIZE" in shared:
        sizes = [int(each[b"SIZE"]) for each in lists if each[b"SIZE"].isdigit() and int(each[b"SIZE"])]
        shared[b"SIZE"] = b"%d" % min(sizes) if sizes else b""
    if b"AUTH" in shared:
        first = lists[0][b"AUTH"].upper().split()
        rest = [set(each[b"AUTH"].upper().split()) for each in lists[1:]]
        shared[b"AUTH"] = b" ".join(each for each in first if all(each in other for other in rest))
    for keyword in (b"LIMITS", b"FUTURERELEASE", b"DELIVERBY", b"MT-PRIORITY"):  # their parameters need one provider
        shared.pop(keyword, None)
    return shared


def _line(keyword: bytes, parameters: bytes, max_size: int, max_recipients: int) -> bytes:
    if keyword == b"SIZE":
        theirs = int(parameters) if parameters.isdigit() else 0  # RFC 1870 §3: 0 and nothing mean no fixed limit
        return b"SIZE %d" % (min(theirs, max_size) if theirs else max_size)
    if keyword == b"LIMITS":
        parameters = _limits(parameters, max_recipients)
    return keyword + b" " + parameters if parameters else keyword


def _limits(parameters: bytes, max_recipients: int) -> bytes:
    """RFC 9422 §4.2: RCPTMAX is the smaller of ours and the provider's; other limits pass as written."""
    words = []
    for word in parameters.split():
        name, _, value = word.partition(b"=")
        if name.upper() == b"RCPTMAX" and value.isdigit():
            word = b"%s=%d" % (name, min(int(value), max_recipients))
        words.append(word)
    return b" ".join(words)
