"""How good it is, and how it holds against somebody who wants it to be bad. Works on answers through what it is handed."""
