"""What works on the project and is not part of it."""
