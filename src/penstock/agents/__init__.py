"""What an app can do for people: typed actions, and the requests for them, which no model can carry out by itself."""
