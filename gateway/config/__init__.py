"""The configuration file: `model.py` says what can be in it, `load.py` reads it and names everything that is wrong."""
