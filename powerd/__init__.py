"""Keeps a rack of GPUs inside its power budget and lets none of that budget go to waste."""

__version__ = "0.1.0"
