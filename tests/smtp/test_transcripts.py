"""Every transcript in transcripts/ is played against a session: whole, octet by octet, and glued together."""

from __future__ import annotations

from pathlib import Path

import pytest
from transcript import Manner, play, read_transcript

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
PLAYS = [(file, manner) for file in FILES for manner in read_transcript(file).manners()]


@pytest.mark.parametrize(("file", "manner"), PLAYS, ids=[f"{file.stem}-{manner.value}" for file, manner in PLAYS])
def test_conversation_goes_as_written(file: Path, manner: Manner) -> None:
    play(read_transcript(file), manner)


def test_there_are_transcripts() -> None:
    assert FILES
