"""The location of a store in PostgreSQL, and descriptions of it without the password."""

from typing import Self

from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

_DEFAULT_PORT = "5432"


class Location(Struct, frozen=True):
    """A schema in a database. The URL may contain a password, so show people only `str(location)`."""

    url: SecretStr
    schema: str

    def parameters(self) -> dict[str, str]:
        """Return the parts of the URL, by the names that libpq gives them. Raises psycopg.ProgrammingError."""
        return {name: str(value) for name, value in conninfo_to_dict(self.url.get_secret_value()).items()}

    @property
    def has_several_hosts(self) -> bool:
        """Whether the URL names several servers, of which only one accepts writes."""
        return "," in self.parameters().get("host", "")

    @property
    def grant(self) -> str:
        """The statements by which an administrator lets the URL's user create and use the tables."""
        parts = self.parameters()
        user = parts.get("user", "USER")
        return (
            f'GRANT CREATE ON DATABASE "{parts.get("dbname", user)}" TO "{user}"; and if the schema exists already,'
            f' ALTER SCHEMA "{self.schema}" OWNER TO "{user}"'
        )

    @property
    def address(self) -> str:
        """The servers, the database and the schema, without user and password.

        The text is the same in all processes that are configured with the same server names, database and schema.
        """
        parts = self.parameters()
        hosts = (parts.get("host") or parts.get("hostaddr") or "").split(",")
        ports = parts.get("port", _DEFAULT_PORT).split(",")
        every = ports * len(hosts) if len(ports) == 1 else ports
        servers = sorted(f"{host}:{port or _DEFAULT_PORT}" for host, port in zip(hosts, every, strict=False))
        return f"{','.join(servers)}/{parts.get('dbname') or parts.get('service', '')}/{self.schema}"

    def with_schema(self, schema: str) -> Self:
        """Return the location of another schema in the same database."""
        return type(self)(self.url, schema)

    def __str__(self) -> str:
        """Return the server, the database and the schema, without user and password."""
        parts = self.parameters()
        hosts = parts.get("host") or parts.get("hostaddr") or "this machine"
        ports = parts.get("port", _DEFAULT_PORT)
        place = hosts if ports == _DEFAULT_PORT else f"{hosts}, port {ports}"
        return f'database "{parts.get("dbname", "")}" on {place}, schema "{self.schema}"'
