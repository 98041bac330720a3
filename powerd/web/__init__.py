"""The local HTTP status endpoint: views of the latest snapshot."""
