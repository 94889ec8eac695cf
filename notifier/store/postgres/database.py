"""A connection to PostgreSQL that accepts this package's SQL, which is written for SQLite."""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus

from notifier.store.database import Engine

Connection = psycopg.Connection[tuple[Any, ...]]

_TURN: Final = "notifier.turn"
"""The session setting that identifies the holder's turn. Like the lock, it ends with the session."""

_IN_JSON_LIST: Final = re.compile(r"(?<!NOT )IN \(SELECT value FROM json_each\((\?|:\w+)\)\)")
_JSON_LIST: Final = re.compile(r"json_each\((\?|:\w+)\)")
_NAMED: Final = re.compile(r"(?<![:\w]):([a-z]\w*)")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""Matches what PostgreSQL cannot store in a text: NUL, and halves of surrogate pairs."""
_REPLACEMENT: Final = "\ufffd"


class ForeignSessionError(psycopg.OperationalError):
    """A connection is not in the session with the lock, or shares that session. So another process may write."""


def mark_turn(connection: Connection, turn: str) -> None:
    """Store the identifier of the holder's turn in the connection's session. Raises psycopg.Error."""
    connection.execute("SELECT set_config(%s, %s, false)", [_TURN, turn])


@lru_cache(maxsize=512)
def translate(sql: str) -> str:
    """Convert a statement for SQLite to one for PostgreSQL: its placeholders, JSON lists and a few words. Pure."""
    sql = sql.replace("%", "%%")
    # With an array, PostgreSQL searches the index for each value. With IN and without statistics, as in a new table, it
    # would compare each row with each value.
    sql = _IN_JSON_LIST.sub(r"= ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(\1 AS jsonb))))", sql)
    sql = _JSON_LIST.sub(r"jsonb_array_elements_text(CAST(\1 AS jsonb)) AS _(value)", sql)
    sql = _NAMED.sub(r"%(\1)s", sql).replace("?", "%s")
    # In SQLite, CROSS JOIN sets the order in which tables are read, and LIKE ignores case.
    return sql.replace("CROSS JOIN", "JOIN").replace(" LIKE ", " ILIKE ")


class PostgresDatabase:
    """A connection to one schema. It is in autocommit mode, so that `atomic` alone decides about transactions."""

    engine: Final = Engine.POSTGRES

    def __init__(self, connection: Connection, turn: str | None = None) -> None:
        """Initialise with an open connection.

        If `turn` is given, a transaction fails unless `mark_turn` was called with this `turn` in the same session.
        """
        self.connection = connection
        self.changes = 0
        self._turn = turn
        self._depth = 0
        connection.adapters.register_loader("numeric", _WholeNumberLoader)

    @property
    def is_usable(self) -> bool:
        """Whether the connection is open, as far as is known without asking the server."""
        return not self.connection.closed

    def execute(
        self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None = None, /
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute one statement. Raises psycopg.Error."""
        if parameters:
            text = translate(sql)
            cursor = self.connection.execute(text, _to_postgres_parameters(parameters, has_json="jsonb" in text))
        else:
            cursor = self.connection.execute(translate(sql).replace("%%", "%"))
        self._count(cursor)
        return cursor

    def executemany(
        self, sql: str, rows: Iterable[Sequence[Any] | Mapping[str, Any]], /
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Execute one statement once for each row of parameters; `rowcount` of the result counts all changed rows."""
        cursor = self.connection.cursor()
        cursor.executemany(translate(sql), [_to_postgres_parameters(row, has_json=False) for row in rows])
        self._count(cursor)
        return cursor

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        """Run a `with` block as a transaction, or as a savepoint inside a running one; an error undoes it.

        Raises psycopg.Error.
        """
        outer, name = self._depth == 0, f"level_{self._depth}"
        if outer:
            self._begin()
        else:
            self._control(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._undo("ROLLBACK" if outer else f"ROLLBACK TO SAVEPOINT {name}")
            raise
        else:
            done = self._control("COMMIT" if outer else f"RELEASE SAVEPOINT {name}")
            if done == "ROLLBACK":
                raise psycopg.errors.InFailedSqlTransaction("a statement had failed, so all were undone")
        finally:
            self._depth -= 1
            if outer and not self.connection.closed and not self._is_idle():
                # The transaction's end is unknown, so the connection cannot be used again.
                self.connection.close()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _begin(self) -> None:
        if self._turn is None:
            self._control("BEGIN")
            return
        # Both statements are sent in one message, so that the check needs no further request to the server.
        cursor = self.connection.execute(f"BEGIN; SELECT current_setting('{_TURN}', true)".encode(), prepare=False)
        cursor.nextset()
        if cursor.fetchone() != (self._turn,):
            self.connection.close()
            raise ForeignSessionError("the session is not the one that has the lock")

    def _undo(self, statement: str) -> None:
        # If the connection is lost, the server undoes the transaction, and the error already raised reports the loss.
        with contextlib.suppress(psycopg.Error):
            self._control(statement)

    def _control(self, statement: str) -> str | None:
        return self.connection.execute(statement, prepare=False).statusmessage

    def _is_idle(self) -> bool:
        return self.connection.info.transaction_status is TransactionStatus.IDLE

    def _count(self, cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
        if (status := cursor.statusmessage) is not None and not status.startswith("SELECT"):
            self.changes += max(0, cursor.rowcount)


class PostgresReadingDatabase(PostgresDatabase):
    """A connection for reading; another thread can interrupt its running statement."""

    def __init__(self, connection: Connection) -> None:
        """Initialise with an open connection."""
        super().__init__(connection)
        # A second descriptor, because the library may close the first one at any moment, and the number may be reused.
        self._socket: socket.socket | None = socket.socket(fileno=os.dup(connection.fileno()))

    def interrupt(self) -> None:
        """Cut the connection, so that the running statement fails at once. This never blocks.

        The server itself ends the statement only when the statement's time limit has passed.
        """
        if (connected := self._socket) is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.close()
        super().close()


class _WholeNumberLoader(Loader):
    """Loads sums of whole numbers as `int`, although PostgreSQL returns them as decimals."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def _to_postgres_parameters(
    parameters: Sequence[Any] | Mapping[str, Any], *, has_json: bool
) -> Sequence[Any] | Mapping[str, Any]:
    """Convert each parameter of a statement to what PostgreSQL accepts, as `to_postgres_value` does."""
    if isinstance(parameters, Mapping):
        return {name: to_postgres_value(value, has_json=has_json) for name, value in parameters.items()}
    return [to_postgres_value(value, has_json=has_json) for value in parameters]


def to_postgres_value(value: Any, *, has_json: bool = False) -> Any:
    """Convert a parameter, or a value to be copied, to what PostgreSQL accepts.

    Characters that PostgreSQL cannot store are replaced. A JSON text can contain such characters as escape sequences.
    If `has_json` is set, these escape sequences are replaced, too.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        # This turns a member of a StrEnum into a plain text.
        text = str(value)
        if has_json and "\\u" in text:
            # Other parameters of the same statement may be no JSON, such as a text from a search form.
            with contextlib.suppress(ValueError):
                return json.dumps(_without_unstorable(json.loads(text)), ensure_ascii=False)
        return text.replace("\x00", _REPLACEMENT) if "\x00" in text else text
    return value


def _without_unstorable(value: Any) -> Any:
    """In all texts of a JSON value, replace the characters that PostgreSQL cannot store."""
    if isinstance(value, str):
        return _UNSTORABLE.sub(_REPLACEMENT, value)
    if isinstance(value, list):
        return [_without_unstorable(item) for item in value]
    return (
        {_without_unstorable(name): _without_unstorable(item) for name, item in value.items()}
        if isinstance(value, dict)
        else value
    )
