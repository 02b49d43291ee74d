"""The command line, a file for each family of commands. It may import every room.

``cli`` puts them together; ``labs`` are the commands about labs and hosts, ``rootfs`` builds their
root file systems, ``network`` runs a program anywhere in a lab, ``tunnel`` is the edge and a call,
``api`` the Tunnels API and the identity platforms.
"""
