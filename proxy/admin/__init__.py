"""What operators see: probes, metrics, an API for the command line. It knows the rest of the proxy by ports only."""
