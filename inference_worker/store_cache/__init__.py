"""Published variants that are fetched from a `store` service and kept on this host; see `supply.py`."""
