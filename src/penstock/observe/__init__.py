"""What happened: the journal of requests and the numbers that Prometheus reads."""
