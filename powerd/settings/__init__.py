"""The configuration: read, validated, and turned into the records that the core decides by."""
