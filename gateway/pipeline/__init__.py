"""The order of the steps: one function per endpoint, read from top to bottom."""
