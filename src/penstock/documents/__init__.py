"""Documents in, passages out: reading, splitting, the index and its versions, hybrid search, quotes."""
