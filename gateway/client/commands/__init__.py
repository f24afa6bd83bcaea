"""The commands of ``ovchat``."""
