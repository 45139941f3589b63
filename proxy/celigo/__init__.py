"""iClients and connections of integrator.io, as its API returns them, turned into definitions. Pure."""
