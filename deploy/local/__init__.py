"""The launcher of one machine behind ``ovchat up``, and ``ovchat doctor``."""
