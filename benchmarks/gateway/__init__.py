"""What a gateway costs: a mock upstream, a load generator, and the gateways side by side."""
