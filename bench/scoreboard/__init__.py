"""The same faults for this proxy and for what people use instead; run by `python -m bench.scoreboard`."""
