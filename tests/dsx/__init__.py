"""Tests of the DSX Flex agent, against the schema of DSX Flex itself."""
