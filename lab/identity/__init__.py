"""What platforms answer when a machine asks who it is, signed by issuers of the lab's own."""
