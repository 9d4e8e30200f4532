"""Databases for the ledger's tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.adapters import postgres

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_socket() -> Iterator[str]:
    """The socket folder of a running server; skips where PostgreSQL is not installed."""
    programs = postgres.programs()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed (Debian: apt-get install postgresql)")
    with postgres.server(programs) as socket:
        yield socket


@pytest.fixture
def new_database(postgres_socket: str) -> Callable[[], str]:
    """Makes an empty database and gives its address."""
    import psycopg

    def make() -> str:
        name = f"ledger{next(_NUMBERS)}"
        with psycopg.connect(host=postgres_socket, user="trimtab", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://trimtab@/{name}?host={postgres_socket}"

    return make
