"""A simulated KPA Flex API: an account, and the documented methods in both versions.

This package imports only `facts` from the rest of the notifier. To serve an account:

    account = build_account(records=5_000)
    async with serve(make_app(account)) as base_url:
        await Growth(account).run(rate=2.0)

`app[CONTROL].begin("late:4s,page=1,times=1")` starts a fault, which is written as in `notifier sandbox --fault`.
"""

from notifier.sandbox.account import Account, AccountPage, Filters
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.auth import RateLimit, Token
from notifier.sandbox.catalog import Training, make_user
from notifier.sandbox.control import ActiveEffect, SandboxControl, parse_fault
from notifier.sandbox.errors import ErrorIdentifier
from notifier.sandbox.fixtures import build_account, documented_account
from notifier.sandbox.large_account import synthetic_account
from notifier.sandbox.records import Dialect, IdPair, Override, Record, Version
from notifier.sandbox.server import ACCOUNT, CONTROL, DEFAULT_TOKEN, TOKENS, TRAFFIC, Traffic, make_app, serve

__all__ = [
    "ACCOUNT",
    "CONTROL",
    "DEFAULT_TOKEN",
    "TOKENS",
    "TRAFFIC",
    "Account",
    "AccountPage",
    "ActiveEffect",
    "Dialect",
    "ErrorIdentifier",
    "Filters",
    "Growth",
    "IdPair",
    "Override",
    "RateLimit",
    "Record",
    "SandboxControl",
    "Token",
    "Traffic",
    "Training",
    "Version",
    "build_account",
    "documented_account",
    "make_app",
    "make_user",
    "parse_fault",
    "serve",
    "synthetic_account",
]
