"""Files that callers keep here, and batches: many requests that are in no hurry, and survive the end of the process."""
