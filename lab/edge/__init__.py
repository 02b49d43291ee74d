"""The laboratory's tunnel edge: takes connectors in, and carries TLS clients to them."""
