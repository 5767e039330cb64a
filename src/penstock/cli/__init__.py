"""The terminal: one small file per verb, that parses, calls one function, and prints."""
