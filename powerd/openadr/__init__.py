"""The OpenADR 3.1 bridge: a VEN that turns a VTN's events into grid events of the site (docs/openadr.md)."""
