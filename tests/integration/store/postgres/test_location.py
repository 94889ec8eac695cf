"""The address of a store, as it is shown to people and Prometheus."""

import pytest
from pydantic import SecretStr

from notifier.store.postgres.location import Location


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:secret@db.example.com/d", "db.example.com:5432/d/acme"),
        ("postgresql://u@db.example.com:5433/d?sslmode=verify-full", "db.example.com:5433/d/acme"),
        ("postgresql://db2:5433,db1/d", "db1:5432,db2:5433/d/acme"),
        ("postgresql:///d?host=db2,db1&port=6000", "db1:6000,db2:6000/d/acme"),
        ("postgresql:///d?hostaddr=10.0.0.7", "10.0.0.7:5432/d/acme"),
        ("postgresql://[2001:db8::1]/d", "2001:db8::1:5432/d/acme"),
        ("postgresql:///d?host=/run/postgresql", "/run/postgresql:5432/d/acme"),
        ("postgresql:///d", ":5432/d/acme"),
        ("postgresql://?service=hr", ":5432/hr/acme"),
    ],
)
def test_location_address_identifies_the_store_without_a_secret(url: str, address: str) -> None:
    assert Location(SecretStr(url), "acme").address == address
