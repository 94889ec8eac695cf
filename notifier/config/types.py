"""The types of the values in the configuration."""

import os
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from notifier.config.base_table import ValidationContext
from notifier.config.database_url import parse_database_url, parse_schema_name
from notifier.config.errors import InvalidValue
from notifier.config.paths import default_state_file
from notifier.config.trust import why_untrusted
from notifier.config.urls import (
    LONGEST_SOCKET_PATH,
    TcpAddress,
    UnixAddress,
    check_encrypted_url,
    check_url,
    parse_listen,
)
from notifier.http.proxy import DIRECT, proxy_url_problem
from notifier.patterns import EXCLUDES
from notifier.regular_files import describe_irregular
from notifier.suggest import hint

_VALID_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VALID_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RESERVED_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)
_VALID_ORIGIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST_ORIGIN: Final = 253
_LONGEST_PATTERN: Final = 500
_DATABASE_SCHEMES: Final = frozenset({"postgresql:", "postgres:"})
_LONGEST_STATE_FILE_PATH: Final = LONGEST_SOCKET_PATH - len(".sock")


def _check_name(name: str) -> str:
    if _VALID_NAME.fullmatch(name):
        return name
    possible = re.sub(r"[^a-z0-9]+", "-", name[:60].lower()).strip("-")
    meant = f"; did you mean `{possible}`?" if possible else ""
    raise InvalidValue(
        f"is not a valid name: names consist of lower-case letters, digits, and single hyphens between them{meant}"
    )


Name = Annotated[
    str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"})
]
"""The name of a source or destination.

A name never contains `--`. In the name of an environment variable, each `-` is written as `_`. So `--` would become
`__`, which separates the levels of a key.
"""


def _check_source_name(name: str, info: ValidationInfo) -> str:
    if isinstance(info.context, ValidationContext) and name not in info.context.sources:
        raise InvalidValue(f"does not name a configured source; {hint(name, info.context.sources)}")
    return name


def _check_destination_name(name: str, info: ValidationInfo) -> str:
    if name and isinstance(info.context, ValidationContext) and name not in info.context.destinations:
        raise InvalidValue(f"does not name a configured destination; {hint(name, info.context.destinations)}")
    return name


SourceName = Annotated[str, AfterValidator(_check_source_name)]
"""The name of a configured source."""

OptionalDestinationName = Annotated[str, AfterValidator(_check_destination_name)]
"""The name of a configured destination; `""` for none."""


def _reject_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise InvalidValue("must be a number")
    return value


Count = Annotated[int, Field(ge=1), BeforeValidator(_reject_boolean)]
"""A whole number, at least 1."""

CountUpTo1000 = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_reject_boolean)]
"""A whole number from 1 to 1000."""

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_reject_boolean)]
"""A number per second; 0 for no limit."""

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_reject_boolean)]
"""A part of a whole: more than 0, at most 1."""

RecordsOrShare = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False), BeforeValidator(_reject_boolean)]
"""A number of records or, if it is below 1, a share of the known records."""


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise InvalidValue("must be one line of text, without control characters")
    return text


Text = Annotated[str, AfterValidator(_check_printable)]
"""A line of text, possibly empty."""

Id = Annotated[
    str,
    Field(min_length=1, coerce_numbers_to_str=True),
    AfterValidator(_check_printable),
    WithJsonSchema({"type": ["string", "integer"], "minLength": 1}),
]
"""An id of the API: text, or (in v2 also) a number."""


def _check_pattern(text: str) -> str:
    if not text.removeprefix(EXCLUDES).strip():
        raise InvalidValue('must not be empty; after "!" stands what is excluded')
    if len(text) > _LONGEST_PATTERN:
        raise InvalidValue(f"must not be longer than {_LONGEST_PATTERN} characters")
    return text


Pattern = Annotated[
    str,
    Field(min_length=1, coerce_numbers_to_str=True),
    AfterValidator(_check_printable),
    AfterValidator(_check_pattern),
    WithJsonSchema({"type": ["string", "integer"], "minLength": 1}),
]
"""A title, number or id in a filter: `*` stands for any text, `?` for one character, and a leading `!` excludes."""


def _check_one_word(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if " " in text or not (text.isascii() and text.isprintable()):
        raise InvalidValue(
            "must be one word of visible ASCII characters; it contains a space, a line break or another character"
        )
    return secret


def _check_not_empty(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise InvalidValue("must not be empty")
    return secret


OptionalToken = Annotated[SecretStr, AfterValidator(_check_one_word)]
"""A bearer token; `""` for none."""

Token = Annotated[SecretStr, AfterValidator(_check_not_empty), AfterValidator(_check_one_word)]
"""A token, which is not empty and has no spaces."""


def _check_base_url(url: str) -> str:
    parts = check_encrypted_url(url)
    if parts.username is not None or parts.password is not None:
        raise InvalidValue("must not contain a user name or password; the token has its own key")
    if parts.query or parts.fragment:
        raise InvalidValue("must end before any `?` or `#`, because the methods' names are added at its end")
    return url.rstrip("/")


def _check_public_url(url: str) -> str:
    if not url:
        return url
    parts = check_url(url)
    if parts.username is not None or parts.password is not None:
        raise InvalidValue("must not contain a user name or password, because it is part of messages")
    if parts.query or parts.fragment:
        raise InvalidValue("must end before any `?` or `#`, because pages' names are added at its end")
    return url.rstrip("/")


def _check_secret_encrypted_url(url: SecretStr) -> SecretStr:
    check_encrypted_url(url.get_secret_value())
    return url


def _check_any_url(url: SecretStr) -> SecretStr:
    check_url(url.get_secret_value())
    return url


def _check_optional_url(url: SecretStr) -> SecretStr:
    return _check_any_url(url) if url.get_secret_value() else url


BaseUrl = Annotated[str, AfterValidator(_check_base_url)]
"""The base URL of the API's methods, without a slash at the end: https, or http on this machine."""

PublicUrl = Annotated[str, AfterValidator(_check_public_url)]
"""The base URL of links in messages, without a slash at the end; `""` for none."""

EncryptedUrl = Annotated[SecretStr, AfterValidator(_check_secret_encrypted_url)]
"""A secret URL: https, or http on this machine."""

AnyUrl = Annotated[SecretStr, AfterValidator(_check_any_url)]
"""An http or https URL that may contain a secret."""

OptionalUrl = Annotated[SecretStr, AfterValidator(_check_optional_url)]
"""An http or https URL that may contain a secret; `""` for none."""


DatabaseUrl = Annotated[SecretStr, AfterValidator(parse_database_url)]
"""The URL of a PostgreSQL database; `""` for none."""

SchemaName = Annotated[str, AfterValidator(parse_schema_name)]
"""The name of a schema in a database."""


def _check_proxy(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if text in ("", DIRECT):
        return url
    if problem := proxy_url_problem(text):
        raise InvalidValue(f'{problem}; or "{DIRECT}" for no proxy')
    check_url(text)
    return url


ProxyUrl = Annotated[SecretStr, AfterValidator(_check_proxy)]
"""The URL of a proxy (http or https), maybe with a password; `none` for no proxy; `""` for the environment's proxy."""


def _check_header_name(name: str) -> str:
    if not _VALID_HEADER_NAME.fullmatch(name):
        raise InvalidValue("is not the name of an HTTP header: letters, digits and hyphens, such as X-Api-Key")
    if name.lower() in _RESERVED_HEADERS:
        raise InvalidValue("is a header that the notifier sets itself")
    return name


OptionalHeaderName = Annotated[str, AfterValidator(lambda name: name and _check_header_name(name))]
"""The name of a header that the notifier does not set itself; `""` for none."""


def _check_origin(origin: str) -> str:
    if origin and (not _VALID_ORIGIN.fullmatch(origin) or len(origin) > _LONGEST_ORIGIN):
        raise InvalidValue("must be the name of a host, such as notifier.example.com")
    return origin


OptionalOrigin = Annotated[str, AfterValidator(_check_origin)]
"""The host name by which a receiver knows this sender; `""` for none."""


def _check_header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise InvalidValue("must be one line of visible ASCII characters")
    return value


def _check_header_names_differ(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    if len({name.lower() for name in headers}) < len(headers):
        raise InvalidValue("must name each header once (case is ignored, also in environment variables)")
    return headers


Headers = Annotated[
    dict[
        Annotated[str, AfterValidator(_check_header_name)],
        Annotated[SecretStr, AfterValidator(_check_header_value)],
    ],
    AfterValidator(_check_header_names_differ),
]
"""Additional headers of a request, by name; their values are secrets."""


def _parse_path(value: object, of: str = "a file") -> Path:
    match value:
        case Path():
            return value
        case str() if value and value.isprintable():
            return Path(value)
        case _:
            raise InvalidValue(f"must be the path of {of}, in quotes")


def _parse_state_file(value: object, info: ValidationInfo) -> Path:
    if value == "":
        if isinstance(info.context, ValidationContext):
            return default_state_file(info.context.environ, info.context.file)
        return default_state_file(os.environ)
    path = _parse_path(value)
    # A relative path, which this address looks like, already begins with a folder here.
    if not _DATABASE_SCHEMES.isdisjoint(path.parts):
        raise InvalidValue("is the address of a database: write it as `url`, without `path`")
    if len(os.fsencode(path)) > _LONGEST_STATE_FILE_PATH:
        raise InvalidValue(
            f"must be a path of at most {_LONGEST_STATE_FILE_PATH} bytes, because the daemon's socket stands beside the"
            " file, and the system does not allow a longer path for it"
        )
    return path


def _parse_readable_file(value: object) -> Path | None:
    if value == "" or value is None:
        return None
    path = _parse_path(value)
    if kind := describe_irregular(path):
        raise InvalidValue(f"names a file that is refused: it {kind}")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidValue(f"names a file that cannot be read: {error.strerror}") from None
    if reason := why_untrusted(path):
        raise InvalidValue(f"names a file that is refused: it {reason}")
    return path


def _parse_readable_folder(value: object) -> Path | None:
    if value == "" or value is None:
        return None
    path = _parse_path(value, "a folder")
    try:
        files = sorted(entry.name for entry in os.scandir(path))
    except OSError as error:
        raise InvalidValue(f"names a folder that cannot be read: {error.strerror}") from None
    if reason := why_untrusted(path):
        raise InvalidValue(f"names a folder that is refused: it {reason}")
    for name in files:
        if reason := why_untrusted(path / name):
            raise InvalidValue(f"names a folder that is refused: {name} in it {reason}")
    return path


def _format_path(path: Path | None) -> str:
    return "" if path is None else str(path)


FilePattern = Annotated[
    Path,
    PlainValidator(lambda written: _parse_path(written, "files"), json_schema_input_type=str),
    PlainSerializer(_format_path, return_type=str),
]
"""The path of a file, or a pattern of paths with `*`, `?` and `[...]`; `**` stands for any number of folders."""

StateFile = Annotated[
    Path, PlainValidator(_parse_state_file, json_schema_input_type=str), PlainSerializer(_format_path, return_type=str)
]
"""The path of the state file; `""` for the default place."""

ReadableFile = Annotated[
    Path | None,
    PlainValidator(_parse_readable_file, json_schema_input_type=str),
    PlainSerializer(_format_path, return_type=str),
]
"""The path of a file that can be read; `""` for none."""

ReadableFolder = Annotated[
    Path | None,
    PlainValidator(_parse_readable_folder, json_schema_input_type=str),
    PlainSerializer(_format_path, return_type=str),
]
"""The path of a folder that can be read; `""` for none."""


def _format_address(address: TcpAddress | UnixAddress | None) -> str:
    return "" if address is None else str(address)


ListenAddress = Annotated[
    TcpAddress | UnixAddress | None,
    PlainValidator(parse_listen, json_schema_input_type=str),
    PlainSerializer(_format_address, return_type=str),
]
"""The address to listen on; `""` for none."""
