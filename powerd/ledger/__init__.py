"""The ledger: what grid events asked for and what came of it, written down so that it can be proven later.

One SQLite file that is only ever appended to (docs/proof-of-response.md).
"""
