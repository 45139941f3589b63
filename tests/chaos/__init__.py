"""Attacks on the whole product from outside: kills, outages, crowds; every figure is a count of a test server."""
