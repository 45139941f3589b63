"""Attacks on the whole product from outside: kills, outages, crowds, replicas; figures are counts of test servers."""
