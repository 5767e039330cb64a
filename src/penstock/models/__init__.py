"""Model providers, and what stands between them and a caller."""
