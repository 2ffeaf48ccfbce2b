"""Who is calling, and which models they may use."""
