"""Measurements of the gateway beside its peers; they assert that answers are right, never that they are fast."""
