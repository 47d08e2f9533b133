"""A QR code of a page's address, as SVG that stands within a page: no script, no style, no size of its own.

It is dark on light with its quiet zone around it, in a dark page too, because readers need both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

import segno

__all__ = ["MAX_ADDRESS", "svg"]

MAX_ADDRESS = 512  # characters; beyond it the modules get too small for a telephone's camera
QUIET = 4  # modules on each side, as ISO/IEC 18004 asks for


def svg(address: str, *, title: str) -> str:
    """The code of an http or https address. `title` is what a screen reader says. Raises `ValueError`."""
    if urlsplit(address).scheme not in ("http", "https") or len(address) > MAX_ADDRESS:
        raise ValueError(f"no address of a page with at most {MAX_ADDRESS} characters")
    rows = [bytes(row) for row in segno.make(address, error="m", micro=False).matrix]
    size = str(len(rows) + 2 * QUIET)
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {size} {size}", role="img")
    SubElement(root, "title").text = title
    SubElement(root, "rect", width=size, height=size, fill="#fff")
    path = "".join(run for y, row in enumerate(rows, QUIET) for run in _runs(y, row))
    # Between two rows, smooth edges would leave hairs of light.
    SubElement(root, "path", {"d": path, "fill": "#000", "shape-rendering": "crispEdges"})
    return tostring(root, encoding="unicode")


def _runs(y: int, row: bytes) -> Iterator[str]:
    """A rectangle for each run of dark modules."""
    x = QUIET
    for is_dark, modules in groupby(row):
        width = len(list(modules))
        if is_dark:
            yield f"M{x} {y}h{width}v1h-{width}z"
        x += width
