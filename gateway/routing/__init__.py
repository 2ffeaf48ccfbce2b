"""Which worker gets a request: the variants, the workers, and the choice among them."""
