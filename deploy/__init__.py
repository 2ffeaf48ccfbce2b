"""What turns the checkout into something that runs: on this machine, in containers, in a cluster."""
