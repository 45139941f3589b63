"""Mutation testing: small mistakes are put into the security modules, one at a time, and the tests have to notice."""
