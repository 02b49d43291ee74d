"""Playbooks against a host whose OpenSSL has no provider but the one for FIPS 140."""
