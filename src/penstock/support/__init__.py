"""How good the conversations of a support bot were, told from its log alone."""
