"""What every part knows of written language: where sentences end, what the words are, which language it is."""
