"""The laboratory's upstream MCP servers."""
