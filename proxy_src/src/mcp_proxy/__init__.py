"""The routing proxy of an MCP tunnel."""
