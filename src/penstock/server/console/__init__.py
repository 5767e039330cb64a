"""The console: pages for whoever runs Penstock, made on the server, each of them also as JSON and as CSV."""
