"""The QR code: an image that stands within a page and leads a telephone to an address."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest
import segno
from debian_peers import need

from onrecord.web.autoconfig.qr import MAX_ADDRESS, svg

ADDRESS = "https://relay.example.com/setup/apple?address=ann%2Bcrm@acme.example&x=1"
LONGEST = "https://relay.example.com/" + "x" * (MAX_ADDRESS - 26)
SVG = "{http://www.w3.org/2000/svg}"
RUN = re.compile(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z")
QUIET = 4
SCALE = 6  # pixels of a module, for a reader of images


def _drawn(image: Element) -> list[list[bool]]:
    """Which modules are dark, quiet zone included."""
    size = int(image.attrib["viewBox"].split()[2])
    modules = [[False] * size for _ in range(size)]
    path = image.find(f"{SVG}path")
    assert path is not None
    assert RUN.sub("", path.attrib["d"]) == ""
    for x, y, width, back in (map(int, each) for each in RUN.findall(path.attrib["d"])):
        assert width == back
        modules[y][x : x + width] = [True] * width
    return modules


@pytest.mark.parametrize("address", [ADDRESS, LONGEST, "http://127.0.0.1:2580/", "https://münchen.example/é"])
def test_dark_modules_are_those_of_the_code(address: str) -> None:
    modules = _drawn(fromstring(svg(address, title="Set up")))
    code = segno.make(address, error="m", micro=False)
    assert modules == [[bool(each) for each in row] for row in code.matrix_iter(border=QUIET)]


@pytest.mark.peers
@pytest.mark.parametrize("address", [ADDRESS, LONGEST, "http://127.0.0.1:2580/"])
def test_code_is_read_by_a_program_that_reads_codes(address: str, tmp_path: Path) -> None:
    need("zbarimg")
    rows = [
        b"".join(b"\x00" * SCALE if each else b"\xff" * SCALE for each in row) * SCALE
        for row in _drawn(fromstring(svg(address, title="Set up")))
    ]
    image = tmp_path / "code.pgm"
    image.write_bytes(b"P5 %d %d 255\n" % (len(rows) * SCALE, len(rows) * SCALE) + b"".join(rows))
    done = subprocess.run(["zbarimg", "--quiet", "--raw", image], capture_output=True, text=True, check=True)
    assert done.stdout == f"{address}\n"


def test_image_is_dark_on_light_and_takes_its_size_from_the_page() -> None:
    image = fromstring(svg(ADDRESS, title="Set up"))
    assert image.attrib == {"viewBox": image.attrib["viewBox"], "role": "img"}
    title, ground, path = image
    assert (title.tag, ground.tag, path.tag) == (f"{SVG}title", f"{SVG}rect", f"{SVG}path")
    size = image.attrib["viewBox"].split()[2]
    assert ground.attrib == {"width": size, "height": size, "fill": "#fff"}
    assert path.attrib["fill"] == "#000"


def test_nothing_in_it_runs_or_is_fetched() -> None:
    image = fromstring(svg(ADDRESS, title="<script>alert(1)</script>"))
    assert {each.tag for each in image.iter()} == {f"{SVG}{name}" for name in ("svg", "title", "rect", "path")}
    names = {name for each in image.iter() for name in each.attrib}
    assert names == {"viewBox", "role", "width", "height", "fill", "d", "shape-rendering"}


@pytest.mark.parametrize("title", ["Set up ann@acme.example", "A & B </title>", "Grüße"])
def test_screen_reader_is_told_the_title(title: str) -> None:
    assert fromstring(svg(ADDRESS, title=title)).findtext(f"{SVG}title") == title


@pytest.mark.parametrize("address", ["", "javascript:alert(1)", "mailto:ann@acme.example", "//x", LONGEST + "x"])
def test_what_is_no_address_of_a_page_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="no address of a page"):
        svg(address, title="Set up")
