"""A support bot for a shop: it knows the stock, the orders and the rules, and does what a customer agreed to."""
