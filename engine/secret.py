"""A value that is never shown."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """Octets that no log, traceback or record may show."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """The octets, for the wire and for sealing only."""
        return self._octets

    def __repr__(self) -> str:
        return "Secret(...)"
