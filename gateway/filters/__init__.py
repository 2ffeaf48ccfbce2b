"""What a tenant's policy allows in and out: rules over text, and what a classifier model says about it. No I/O."""
