"""The certificates of one's own that a destination is given: a private authority, a client certificate."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from notifier.clock import Clock

LOOK_EVERY = 1.0
"""Seconds between two looks at the files: so seldom that it costs nothing, so often that nobody waits for it."""

Version = tuple[tuple[int, int, int] | None, ...]
"""What tells one version of the files from the next: of each when it was changed, its size, and its number on disk."""


class CertificateFileError(Exception):
    """A certificate file cannot be used; the message names the setting, the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Which files stand for whom; without any, the system's authorities are trusted and no certificate is shown.

    `authority` is trusted instead of the system's authorities. `key` may be missing when it stands in `client`.
    """

    authority: Path | None = None
    client: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files (this blocks).

        Raises CertificateFileError when one of them is missing, unreadable or no certificate.
        """
        try:
            context = ssl.create_default_context(cafile=self.authority)
        except (OSError, ValueError) as error:
            raise _unusable(f"ca_file {self.authority}", "no usable certificate in it", error) from error
        if self.client is not None:
            files = f"client_cert_file {self.client}"
            if self.key is not None:
                files += f" with client_key_file {self.key}"
            try:
                # An empty password makes OpenSSL refuse an encrypted key instead of asking for one on the terminal.
                context.load_cert_chain(self.client, self.key, password="")
            except (OSError, ValueError) as error:
                lacking = "no usable certificate with its unencrypted private key in it"
                raise _unusable(files, lacking, error) from error
        return context

    def version(self) -> Version:
        """Look at the files without reading them (this blocks)."""
        return tuple(_version(file) for file in (self.authority, self.client, self.key) if file is not None)


@dataclass(frozen=True, slots=True)
class _Read:
    version: Version
    context: ssl.SSLContext


class Trust:
    """Whom a destination trusts, and as whom it shows itself: what the files say today, not at the start."""

    def __init__(self, certificates: Certificates, clock: Clock) -> None:
        """Name the files; nothing is read yet."""
        self._certificates = certificates
        self._clock = clock
        self._turn = asyncio.Lock()
        self._look_again_at = 0.0
        self._read: _Read | None = None

    async def context(self) -> ssl.SSLContext | bool:
        """Return what the next request is to use; files that were renewed are read again.

        Raises CertificateFileError when they are unusable, and again each time as long as they are: a renewal that
        went wrong is told when it happens, not when the old certificate has run out.
        """
        if self._certificates == Certificates():
            return True
        async with self._turn:
            now = self._clock.monotonic()
            if self._read is None or now >= self._look_again_at:
                self._read = await asyncio.to_thread(_up_to_date, self._certificates, self._read)
                self._look_again_at = now + LOOK_EVERY
            return self._read.context


def _up_to_date(certificates: Certificates, read: _Read | None) -> _Read:
    # Looked at before they are read: what is renewed in between is then found to be new the next time.
    version = certificates.version()
    if read is not None and read.version == version:
        return read
    return _Read(version, certificates.context())


def _version(file: Path) -> tuple[int, int, int] | None:
    """Look at one file; what is wrong with one that cannot be looked at is said when it is read."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _unusable(files: str, lacking: str, error: OSError | ValueError) -> CertificateFileError:
    match error:
        case ssl.SSLError():
            why = lacking + (f" ({error.reason})" if error.reason else "")
        case OSError():
            why = error.strerror or type(error).__name__
        case _:
            why = str(error)
    return CertificateFileError(f"{files}: {why}")
