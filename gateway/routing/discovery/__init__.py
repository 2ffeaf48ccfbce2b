"""Which workers a model has: the file's, those that DNS and Kubernetes tell of, and those of the admin API."""
