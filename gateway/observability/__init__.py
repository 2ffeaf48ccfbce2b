"""What operators see: metrics, logs, and the record of each request they are made from."""
