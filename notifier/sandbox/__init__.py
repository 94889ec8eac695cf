"""The simulated KPA Flex API: the account it holds, the methods it answers, in both documented versions.

It knows nothing of the rest of the house. A served account in three lines:

    account = build_account(records=5_000)
    async with serve(make_app(account)) as base_url:
        await Growth(account).run(rate=2.0)
"""

from notifier.sandbox.access import RateLimit, Token
from notifier.sandbox.account import Account, Filters, Page
from notifier.sandbox.catalog import Training, user
from notifier.sandbox.errors import ErrorIdentifier
from notifier.sandbox.growth import Growth
from notifier.sandbox.records import Dialect, Override, Record, Twin, Version
from notifier.sandbox.seeds import build_account, documented_account
from notifier.sandbox.server import ACCOUNT, DEFAULT_TOKEN, TOKENS, TRAFFIC, Traffic, make_app, serve
from notifier.sandbox.synthetic import synthetic_account

__all__ = [
    "ACCOUNT",
    "DEFAULT_TOKEN",
    "TOKENS",
    "TRAFFIC",
    "Account",
    "Dialect",
    "ErrorIdentifier",
    "Filters",
    "Growth",
    "Override",
    "Page",
    "RateLimit",
    "Record",
    "Token",
    "Traffic",
    "Training",
    "Twin",
    "Version",
    "build_account",
    "documented_account",
    "make_app",
    "serve",
    "synthetic_account",
    "user",
]
