"""What two or more services of ovchat have in common: names, messages, settings, errors and the model store."""
