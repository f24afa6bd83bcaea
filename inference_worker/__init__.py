"""The inference service: one agent per device and one replica process per loaded variant."""
