"""The human side: what people say of answers, which answers they look at, what they found, and what becomes of it."""
