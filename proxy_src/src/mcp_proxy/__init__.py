"""The routing proxy of an MCP tunnel."""

__version__ = "0.1.0"
