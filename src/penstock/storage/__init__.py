"""Where things are kept: SQLite for what changes, immutable files of arrays for what does not."""
