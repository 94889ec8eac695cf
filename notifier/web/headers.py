"""Headers of every answer, whatever it is: that nothing be kept, framed, loaded or taken for something else."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import hdrs, web

EVERYWHERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
"""What an answer says of itself where it does not say otherwise: JSON and metrics need nothing of a browser."""


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add to an answer what it does not say by itself; for `Application.on_response_prepare`."""
    for name, value in EVERYWHERE.items():
        response.headers.setdefault(name, value)
    # By itself it would tell the versions of Python and aiohttp.
    response.headers[hdrs.SERVER] = "completion-notifier"
