"""Generates a shell script that repeats a request with curl. Variables take the place of secrets. Pure."""

import re
import shlex
from collections.abc import Iterator
from typing import Final

from notifier.web.daemon_api import RequestPreview

LONGEST_BODY_BYTES: Final = 16_384
"""The longest body that is written into the script. For a longer body, the user has to download BODY_FILE."""

BODY_FILE: Final = "body.json"

_SET_BY_CURL: Final = frozenset({"host", "content-length", "accept-encoding", "connection"})
_SIGNATURE: Final = "webhook-signature"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGN_LINES: Final = (
    "TIME=$(date +%s)",
    "KEY=$(printf %s \"${SECRET#whsec_}\" | base64 -d | od -An -v -tx1 | tr -d ' \\n')",
    'SIGNATURE=$(printf %s "$ID.$TIME.$BODY" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$KEY" -binary | base64)',
)
"""The shell lines that sign the body again, because receivers refuse old signatures (Standard Webhooks 1.0.0)."""
_HASH_LINE: Final = 'HASH=$(printf %s "$BODY" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d \' \' -f 1)'
"""The shell line that computes the plain hash: HMAC-SHA256 of the body, with the secret's text as the key."""
_ASYMMETRIC_PREFIX: Final = "v1a,"


def curl_command(request: RequestPreview, destination: str) -> str:
    """Return the shell script. Before running it, the user has to fill in the variables at its beginning."""
    return "\n".join([*_variables(request, destination), " \\\n  ".join(_curl_arguments(request))])


def _variables(request: RequestPreview, destination: str) -> Iterator[str]:
    yield f"# The values of `url` and of secrets are in the configuration, under [destinations.{destination}]."
    address = request.address.replace("'", "%27")
    yield f"URL='{address}'"
    if _keeps_signature(request):
        yield "# The signature is the one that was sent: receivers refuse it when it is some minutes old."
    for name in request.secret_headers:
        yield f"{_variable_name(name)}='...'    # the header {name}"
    is_short = len(request.body) <= LONGEST_BODY_BYTES
    if request.is_signed:
        if _ASYMMETRIC_PREFIX in _signature(request):
            yield "# It is signed with the shared secret only: a signature with the private key (whsk_...) is left out."
        yield "SECRET='whsec_...'"
        yield f"ID={shlex.quote(dict(request.headers).get('webhook-id', ''))}"
    if is_short:
        yield f"BODY={shlex.quote(request.body.decode())}"
    elif request.is_signed:
        yield f"BODY=$(cat {BODY_FILE})"
    if request.is_signed:
        yield from _SIGN_LINES
        if request.hash_header:
            yield _HASH_LINE


def _curl_arguments(request: RequestPreview) -> Iterator[str]:
    yield 'curl "$URL"'
    secret = set(request.secret_headers)
    for name, value in request.headers:
        lower_name = name.lower()
        if lower_name in _SET_BY_CURL:
            continue
        if lower_name in secret:
            yield f'--header "{lower_name}: ${_variable_name(lower_name)}"'
        elif lower_name == _TIMESTAMP and not _keeps_signature(request):
            yield '--header "webhook-timestamp: $TIME"' if request.is_signed else _TIMESTAMP_ARGUMENT
        elif lower_name == _SIGNATURE and request.is_signed:
            yield '--header "webhook-signature: v1,$SIGNATURE"'
        elif lower_name == request.hash_header and request.is_signed:
            yield f'--header "{lower_name}: sha256=$HASH"'
        else:
            yield f"--header {shlex.quote(f'{name}: {value}')}"
    # A short body is in the variable, from which the signature is computed; a long body is read from the file.
    yield '--data-binary "$BODY"' if len(request.body) <= LONGEST_BODY_BYTES else f"--data-binary @{BODY_FILE}"


_TIMESTAMP_ARGUMENT: Final = '--header "webhook-timestamp: $(date +%s)"'


def _keeps_signature(request: RequestPreview) -> bool:
    """Return whether the script repeats the original signature.

    A shell can sign again only with a shared secret. Without a shared secret, the original signature is repeated.
    """
    return not request.is_signed and bool(_signature(request))


def _signature(request: RequestPreview) -> str:
    return next((value for name, value in request.headers if name.lower() == _SIGNATURE), "")


def _variable_name(header: str) -> str:
    return re.sub("[^A-Z0-9]", "_", header.upper())
