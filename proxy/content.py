"""The content of one message on its way to the spool: in memory while it is small, then in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from store.spool import ContentFile, Spool

__all__ = ["Content", "Held"]


@dataclass(slots=True)
class Held:
    """What many messages hold together: how many they are, how many of them wait for the directory, octets of theirs in
    memory, and files of theirs.
    """

    messages: int = 0
    asking: int = 0
    octets: int = 0
    files: int = 0


class Content:
    """What was kept so far. `file` is where it lies, once there is one; `trouble` is why nothing is kept any more."""

    __slots__ = ("_chunks", "_new_key", "_spool", "file", "in_memory", "trouble")

    def __init__(self, spool: Spool, new_key: Callable[[], str]) -> None:
        self._spool = spool
        self._new_key = new_key
        self._chunks: list[bytes] = []
        self.in_memory = 0
        self.file: ContentFile | None = None
        self.trouble: Exception | None = None

    def add(self, octets: bytes, *, memory: int) -> None:
        """The next octets. What would be more than `memory` goes to the file."""
        if self.trouble is not None:
            return
        self._chunks.append(octets)
        self.in_memory += len(octets)
        if self.in_memory > memory:
            self._spill()

    def flush(self) -> None:
        """All has come: where there is a file, the rest goes there too."""
        if self.file is not None and self._chunks:
            self._spill()

    def octets(self) -> bytes | None:
        """The content; `None` where it lies in the file."""
        return b"".join(self._chunks) if self.file is None else None

    def release(self) -> None:
        """Lets go of what is in memory."""
        self._chunks.clear()
        self.in_memory = 0

    def discard(self) -> None:
        """Nothing of it is wanted any more."""
        self.release()
        if self.file is not None:
            self.file.discard()
            self.file = None

    def fail(self, error: Exception) -> None:
        """Nothing of it can be kept."""
        self.trouble = error
        self.discard()

    def _spill(self) -> None:
        try:
            if self.file is None:
                self.file = self._spool.content_file(self._new_key())
            self.file.write(self._chunks)
        except OSError as error:
            self.fail(error)
        else:
            self.release()
