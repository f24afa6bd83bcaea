"""The Python client of a gateway and the ``ovchat`` command line; imports nothing of the server."""
