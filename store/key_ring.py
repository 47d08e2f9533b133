"""Where the sealing keys come from: the environment, a systemd credential, or a file; the first that is there counts.

Keys stand one a line, or with white space between. The first seals, the others only open what was sealed before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from store.sealing import SealingError, SealingKey

__all__ = ["CREDENTIAL", "VARIABLE", "KeyRing"]

VARIABLE = "ONRECORD_SEALING_KEY"
CREDENTIAL = "onrecord.sealing"  # systemd: LoadCredential=onrecord.sealing:/path/of/the/key
MAX_FILE = 65536


class KeyRing:
    """The sealing keys of this installation. `file` counts when neither variable nor credential is there."""

    def __init__(self, file: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._file = file
        self._given = environment.get(VARIABLE)
        folder = environment.get("CREDENTIALS_DIRECTORY")
        self._credential = Path(folder) / CREDENTIAL if folder else None

    @property
    def source(self) -> str:
        """Where the keys come from, for people."""
        if self._given is not None:
            return VARIABLE
        return str(self._path)

    @property
    def is_ours(self) -> bool:
        """Whether the keys can be changed from here: a file can, what others hand to us cannot."""
        return self._given is None and self._path == self._file

    @property
    def exists(self) -> bool:
        """Whether there are keys, of whatever worth."""
        return self._given is not None or self._path.exists()

    def read(self) -> Sequence[SealingKey]:
        """The keys as they are now. Raises `SealingError`, which names the source and the mend."""
        text = self._given if self._given is not None else self._read()
        try:
            found = [SealingKey.parse(each) for each in text.split()]
        except SealingError as error:
            raise SealingError(f"{self.source}: {error}; restore it from a backup") from error
        if not found:
            raise SealingError(f"{self.source}: holds no sealing key; restore it from a backup")
        return found

    def write(self, keys: Sequence[SealingKey]) -> None:
        """Replaces the file, readable for its owner alone, at once or not at all. Raises `SealingError`."""
        new = self._file.with_name(self._file.name + ".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write("".join(each.text() + "\n" for each in keys))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
            folder = os.open(self._file.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)  # the name too, before anything is sealed with the key
            finally:
                os.close(folder)
        except OSError as error:
            raise SealingError(f"{self._file}: cannot be written ({error.strerror}); see the rights of it") from error

    @property
    def _path(self) -> Path:
        return self._credential if self._credential is not None and self._credential.exists() else self._file

    def _read(self) -> str:
        try:
            with self._path.open(encoding="ascii") as file:
                return file.read(MAX_FILE)
        except FileNotFoundError as error:
            raise SealingError(
                f"{self.source}: there is no sealing key; restore it from a backup, or where no mailbox is connected "
                "yet make one with: onrecord mailbox rekey"
            ) from error
        except (OSError, ValueError) as error:
            raise SealingError(f"{self.source}: cannot be read ({type(error).__name__}); see its rights") from error
