"""The certificates of one's own that a destination is given: a private authority, a client certificate."""

import ssl
from dataclasses import dataclass
from pathlib import Path


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


def _unusable(files: str, lacking: str, error: OSError | ValueError) -> CertificateFileError:
    match error:
        case ssl.SSLError():
            why = lacking + (f" ({error.reason})" if error.reason else "")
        case OSError():
            why = error.strerror or type(error).__name__
        case _:
            why = str(error)
    return CertificateFileError(f"{files}: {why}")
