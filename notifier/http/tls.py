"""The TLS certificate files of a source or destination: a certificate authority and a client certificate."""

import asyncio
import ssl
from pathlib import Path

from msgspec import Struct

from notifier.clock import Clock
from notifier.regular_files import describe_irregular

CHECK_EVERY_SECONDS = 1.0
"""Seconds between two checks of the files for changes."""

Version = tuple[tuple[int, int, int] | None, ...]
"""The version of the files: the modification time, size and inode number of each (None: it cannot be read)."""


class CertificateFileError(Exception):
    """A certificate file cannot be used; the message names the setting, the file and the problem."""


class Certificates(Struct, frozen=True):
    """The certificate files.

    Without files, the system's authorities are trusted, and no client certificate is sent. `authority` replaces the
    system's authorities. `key` is the private key of `client`. If `client` contains the key, `key` is None.
    """

    authority: Path | None = None
    client: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return a TLS context made from the files (blocking).

        Raises CertificateFileError if a file is missing, unreadable, not a regular file or not a certificate.
        """
        for key, file in (
            ("ca_file", self.authority),
            ("client_cert_file", self.client),
            ("client_key_file", self.key),
        ):
            if file is not None and (kind := describe_irregular(file)):
                raise CertificateFileError(f"{key} {file}: it {kind}")
        try:
            context = ssl.create_default_context(cafile=self.authority)
        except (OSError, ValueError) as error:
            raise _file_error(f"ca_file {self.authority}", "it contains no usable certificate", error) from error
        if self.client is not None:
            files = f"client_cert_file {self.client}"
            if self.key is not None:
                files += f" with client_key_file {self.key}"
            try:
                # With an empty password, OpenSSL refuses an encrypted key instead of asking for a password.
                context.load_cert_chain(self.client, self.key, password="")
            except (OSError, ValueError) as error:
                lacking = "it contains no usable certificate with its unencrypted private key"
                raise _file_error(files, lacking, error) from error
        return context

    def version(self) -> Version:
        """Return the version of the files, without reading their contents (blocking)."""
        return tuple(file_version(file) for file in (self.authority, self.client, self.key) if file is not None)


class _CachedContext(Struct, frozen=True):
    version: Version
    context: ssl.SSLContext


class TlsContextCache:
    """Caches the TLS context of a source or destination, and makes a new one when the files have changed."""

    def __init__(self, certificates: Certificates, clock: Clock) -> None:
        """Initialise with the files; nothing is read yet."""
        self._certificates = certificates
        self._has_files = certificates != Certificates()
        self._clock = clock
        self._lock = asyncio.Lock()
        self._check_again_at = 0.0
        self._cached: _CachedContext | None = None

    async def context(self) -> ssl.SSLContext | bool:
        """Return the TLS context for the next request, made from the current files.

        Without files, returns True, which means aiohttp's default context. Raises CertificateFileError while the files
        are unusable, even if the cached context would still work. So a failed renewal is reported at once, not when the
        old certificate expires.
        """
        if not self._has_files:
            return True
        async with self._lock:
            now = self._clock.monotonic()
            if self._cached is None or now >= self._check_again_at:
                self._cached = await asyncio.to_thread(_refresh, self._certificates, self._cached)
                self._check_again_at = now + CHECK_EVERY_SECONDS
            return self._cached.context


def _refresh(certificates: Certificates, cached: _CachedContext | None) -> _CachedContext:
    # Read before the files' contents, so that the next check notices a change that happens meanwhile.
    version = certificates.version()
    if cached is not None and cached.version == version:
        return cached
    return _CachedContext(version, certificates.context())


def file_version(file: Path) -> tuple[int, int, int] | None:
    """Return the version of one file; None for an unreadable file: reading its contents will report the error."""
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _file_error(files: str, problem: str, error: OSError | ValueError) -> CertificateFileError:
    match error:
        case ssl.SSLError():
            why = problem + (f" ({error.reason})" if error.reason else "")
        case OSError():
            why = error.strerror or type(error).__name__
        case _:
            why = str(error)
    return CertificateFileError(f"{files}: {why}")
