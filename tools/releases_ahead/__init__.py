"""Makes releases of the proxy before a deployment asks for them: ``python -m releases_ahead``."""
