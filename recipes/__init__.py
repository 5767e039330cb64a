"""How the weights that ship in src/penstock/weights were made. Each recipe is one command and reads top to bottom."""
