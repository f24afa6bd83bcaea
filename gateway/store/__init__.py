"""Runs over the model store, which the converter carries out: the gateway touches no model file."""
