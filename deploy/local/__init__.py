"""The local installation: engine, weights, gateway and tests on one machine. Standard library only."""
