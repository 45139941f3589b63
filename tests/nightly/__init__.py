"""What takes too long for every change: the tests and tools of CI with the numbers that docs/security.md states."""
