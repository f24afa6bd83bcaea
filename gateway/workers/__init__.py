"""The inference workers as the registry knows them."""
