"""What the operator wrote: from YAML nodes with their places to frozen models, with every fault named at once."""
