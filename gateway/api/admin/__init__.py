"""`/admin/v1`: tenants, keys, usage, the log of changes and the configuration, for whoever has the admin key."""
