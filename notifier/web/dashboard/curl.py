"""Writes a shell command that sends a request again with curl; variables replace secrets. Pure."""

import re
import shlex
from collections.abc import Iterator
from typing import Final

from notifier.web.daemon_api import RequestPreview

LONGEST_BODY_BYTES: Final = 16_384
"""The longest body that is part of the command; the command reads a longer one from a file offered on the page."""

BODY_FILE: Final = "body.json"

_MADE_BY_CURL: Final = frozenset({"host", "content-length", "accept-encoding", "connection"})
_SIGNATURE: Final = "webhook-signature"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGN: Final = (
    "TIME=$(date +%s)",
    "KEY=$(printf %s \"${SECRET#whsec_}\" | base64 -d | od -An -v -tx1 | tr -d ' \\n')",
    'SIGNATURE=$(printf %s "$ID.$TIME.$BODY" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$KEY" -binary | base64)',
)
"""Shell lines that sign the body again (Standard Webhooks 1.0.0), because receivers refuse old signatures."""
_HASH: Final = 'HASH=$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d \' \' -f 1)'
"""A shell line that computes the plain hash: HMAC-SHA256 of the body, with the secret's text as the key."""
_ASYMMETRIC: Final = "v1a,"


def curl_command(request: RequestPreview, destination: str) -> str:
    """Return the command; the shell variables at its beginning have to be filled in."""
    return "\n".join([*_variables(request, destination), " \\\n  ".join(_call(request))])


def _variables(request: RequestPreview, destination: str) -> Iterator[str]:
    yield f"# The values of `url` and of secrets are in the configuration, under [destinations.{destination}]."
    address = request.address.replace("'", "%27")
    yield f"URL='{address}'"
    if _keeps_signature(request):
        yield "# The signature is the one that was sent: receivers refuse it when it is some minutes old."
    for name in request.secret_headers:
        yield f"{_variable(name)}='...'    # the header {name}"
    is_short = len(request.body) <= LONGEST_BODY_BYTES
    if request.is_signed:
        if _ASYMMETRIC in _value(request, _SIGNATURE):
            yield "# It is signed with the shared secret only: a signature with the private key (whsk_...) is left out."
        yield "SECRET='whsec_...'"
        yield f"ID={shlex.quote(dict(request.headers).get('webhook-id', ''))}"
    if is_short:
        yield f"BODY={shlex.quote(request.body.decode())}"
    elif request.is_signed:
        yield f"BODY=$(cat {BODY_FILE})"
    if request.is_signed:
        yield from _SIGN
        if request.hash_header:
            yield _HASH


def _call(request: RequestPreview) -> Iterator[str]:
    yield 'curl "$URL"'
    secret = set(request.secret_headers)
    for name, value in request.headers:
        known = name.lower()
        if known in _MADE_BY_CURL:
            continue
        if known in secret:
            yield f'--header "{known}: ${_variable(known)}"'
        elif known == _TIMESTAMP and not _keeps_signature(request):
            yield '--header "webhook-timestamp: $TIME"' if request.is_signed else _TIME_OF_NOW
        elif known == _SIGNATURE and request.is_signed:
            yield '--header "webhook-signature: v1,$SIGNATURE"'
        elif known == request.hash_header and request.is_signed:
            yield f'--header "{known}: sha256=$HASH"'
        else:
            yield f"--header {shlex.quote(f'{name}: {value}')}"
    # A short body is in the variable, which a signature covers; a long one is read from the file.
    yield '--data-binary "$BODY"' if len(request.body) <= LONGEST_BODY_BYTES else f"--data-binary @{BODY_FILE}"


_TIME_OF_NOW: Final = '--header "webhook-timestamp: $(date +%s)"'


def _keeps_signature(request: RequestPreview) -> bool:
    """Return whether the command sends the old signature, because a shell cannot make a new one of this kind."""
    return not request.is_signed and any(name.lower() == _SIGNATURE for name, _ in request.headers)


def _value(request: RequestPreview, header: str) -> str:
    return next((value for name, value in request.headers if name.lower() == header), "")


def _variable(header: str) -> str:
    return re.sub("[^A-Z0-9]", "_", header.upper())
