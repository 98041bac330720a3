"""Tests of the pure decision core: tables and properties; no event loop, no mocks."""
