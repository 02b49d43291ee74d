"""Platforms that tell a machine who it is, with answers signed by the lab's own issuers."""
