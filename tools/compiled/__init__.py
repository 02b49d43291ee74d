"""``make wheels``: the modules of the proxy that carry traffic, compiled by mypyc.

``modules`` chooses them, ``compiler`` runs mypyc in an environment of its own, ``wheel`` packs what
it has made. ``plugins/plugin_utils/releases/compiled.py`` takes the wheels into releases.
"""
