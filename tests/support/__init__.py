"""What several test rings share: the simulated worker and the gateway as a process."""
