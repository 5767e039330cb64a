"""The recipes behind the small models we ship. Each is one file that reads from top to bottom; they need the extra `train`."""
