"""Every transcript in transcripts/ is played against a session: whole, octet by octet, and cut at random."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imap_stage import manner, play
from octets import cut
from transcript import Manner, read_transcript

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
# Those that are about octets which come in one go.
CUTTABLE = [file for file in FILES if "play" not in read_transcript(file).settings]


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_conversation_goes_as_written(file: Path) -> None:
    play(file, manner(Manner.WHOLE))


@pytest.mark.parametrize("file", CUTTABLE, ids=[file.stem for file in CUTTABLE])
def test_conversation_goes_as_written_octet_by_octet(file: Path) -> None:
    play(file, manner(Manner.OCTETS))


@pytest.mark.parametrize("file", CUTTABLE, ids=[file.stem for file in CUTTABLE])
@given(places=st.lists(st.integers(0, 1 << 16), max_size=8))
@settings(max_examples=25)
def test_however_it_is_cut_a_conversation_has_the_same_events_and_octets(file: Path, places: list[int]) -> None:
    play(file, lambda octets: cut(octets, places))


def test_there_are_transcripts() -> None:
    assert CUTTABLE
