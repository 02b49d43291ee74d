"""The collection's modules against the laboratory's Tunnels API and the vendor's own client."""
