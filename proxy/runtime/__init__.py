"""Where the rooms meet: everything is built from definitions, started, drained and stopped here."""
