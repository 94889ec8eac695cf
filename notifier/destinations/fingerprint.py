"""Fingerprints of a destination's address and credentials. A fingerprint reveals a change, but not the values."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from notifier.config import DestinationSettings

_SALT_BYTES = 8
_DIGEST_BYTES = 8
"""The length of a digest: enough to detect a change, too short to prove that a guessed secret is right."""


def destination_identity(settings: DestinationSettings) -> bytes:
    """Return a destination's type, address and credentials as JSON.

    If they change, the stored health is outdated. For each certificate file, the JSON contains the path, the time of
    its last change, and the size. Reads the disk.
    """
    values = [_to_json_value(getattr(settings, key)) for key in settings.identity]
    newer = ((key, _to_json_value(getattr(settings, key))) for key in settings.identity_if_set)
    values += [{key: value} for key, value in newer if value]
    return json.dumps(values, sort_keys=True).encode()


def fingerprint(identity: bytes, stored: str | None) -> str:
    """Return `stored` if it is a fingerprint of this identity, else a new fingerprint with a random salt."""
    salt = stored.partition(":")[0] if stored else secrets.token_hex(_SALT_BYTES)
    found = _salted_digest(identity, salt)
    return found if stored in (None, found) else _salted_digest(identity, secrets.token_hex(_SALT_BYTES))


def _salted_digest(identity: bytes, salt: str) -> str:
    digest = hashlib.blake2b(identity, digest_size=_DIGEST_BYTES, key=salt.encode()).hexdigest()
    return f"{salt}:{digest}"


def _to_json_value(value: Any) -> Any:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return _file_version(value)
        case Mapping():
            return {str(key).lower(): _to_json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_to_json_value(item) for item in value]
        case _:
            return None if value is None else str(value)


def _file_version(path: Path) -> list[Any]:
    try:
        found = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), found.st_mtime_ns, found.st_size]


async def make_fingerprinter(settings: DestinationSettings) -> partial[str]:
    """Return a function of `stored`: `fingerprint`, with the identity of these settings filled in."""
    has_files = any(isinstance(getattr(settings, key), Path) for key in (*settings.identity, *settings.identity_if_set))
    found = await asyncio.to_thread(destination_identity, settings) if has_files else destination_identity(settings)
    return partial(fingerprint, found)
