"""Checks the address of a PostgreSQL database without psycopg, which only the extra `postgres` installs."""

import re
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from notifier.config.errors import InvalidValue
from notifier.http.proxy import is_loopback
from notifier.suggest import nearest

_SCHEMES: Final = ("postgresql", "postgres")
_PARAMETERS: Final = frozenset(
    {
        *("application_name", "channel_binding", "connect_timeout", "dbname", "fallback_application_name", "host"),
        *("gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "krbsrvname"),
        *("keepalives_interval", "load_balance_hosts", "options", "passfile", "password", "port", "require_auth"),
        *("requirepeer", "service", "servicefile", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert"),
        *("sslcertmode", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert"),
        *("sslsni", "target_session_attrs", "tcp_user_timeout", "user"),
    }
)
"""The names of the parameters that a database URL can have (PostgreSQL documentation, section 34.1.2)."""

_SCHEMA: Final = re.compile(r"[a-z][a-z0-9-]{0,47}")
_RESERVED_SCHEMAS: Final = frozenset({"public", "information-schema"})
_NO_LIBRARY: Final = "needs the library psycopg: pip install 'completion-notifier[postgres]'"


def parse_database_url(url: SecretStr) -> SecretStr:
    """Return `url` if it is empty or the address of a database. Raises InvalidValue otherwise."""
    text = url.get_secret_value()
    if not text:
        return url
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise InvalidValue('must begin with "postgresql://", such as "postgresql://notifier@db.example.com/notifier"')
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise InvalidValue("must be one line of visible ASCII characters; others are written as %XX")
    try:
        parts = urlsplit(text)
        parameters = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise InvalidValue("is not a valid URL") from None
    for name in parameters:
        if name not in _PARAMETERS:
            likely = nearest(name, _PARAMETERS)
            meant = f"; did you mean `{likely}`?" if likely else ""
            raise InvalidValue(f"has a parameter that PostgreSQL does not know{meant}")
    if not parts.path.strip("/") and not parameters.get("dbname") and not parameters.get("service"):
        raise InvalidValue('must name a database, as in "postgresql://notifier@db.example.com/notifier"')
    if find_spec("psycopg") is None:
        raise InvalidValue(_NO_LIBRARY)
    return url


def parse_schema_name(name: str) -> str:
    """Return `name` if it is allowed as the name of a schema. Raises InvalidValue otherwise."""
    if _SCHEMA.fullmatch(name) is None or name in _RESERVED_SCHEMAS or name.startswith("pg-"):
        raise InvalidValue(
            "must be lower-case letters, digits and hyphens, beginning with a letter, at most 48 characters, and not a"
            " name of PostgreSQL itself"
        )
    return name


def is_unverified_beyond_loopback(url: str) -> bool:
    """Return whether the server may be on another machine while its certificate is not verified.

    For a URL with the parameter `service`, the result is False, because the service file may set `sslmode`.
    """
    if not url:
        return False
    parts = urlsplit(url)
    parameters = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parameters.get("sslmode") == "verify-full" or "service" in parameters:
        return False
    hosts = parameters.get("host") or parameters.get("hostaddr") or parts.netloc.rpartition("@")[2]
    names = [_without_port(host) for host in hosts.split(",")]
    return any(name and not name.startswith("/") and not is_loopback(name) for name in names)


def _without_port(host: str) -> str:
    return host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.partition(":")[0]
