"""Which workers a model has beside the file's: those of the admin API."""
