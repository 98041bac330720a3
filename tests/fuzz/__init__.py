"""Parsers under bytes that a search by coverage finds: `python -m tests.fuzz` (docs/fuzzing.md)."""
