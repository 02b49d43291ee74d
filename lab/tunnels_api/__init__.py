"""The Tunnels API and the token exchange, in place of the vendor's."""
