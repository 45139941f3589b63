"""What is remembered: log lines, the line about each exchange, metrics. Nothing here ever holds up an exchange."""
