"""The processes: a supervisor and its workers.

``supervisor`` holds configuration, certificate and the sockets of ``listening``. It sees workers as
``worker_pool`` and ``worker_process``; ``worker`` is the other end, with the data path. ``channel``
carries the messages of ``control`` between them. ``reload_socket`` and ``reloading`` serve
``mcp-proxy reload``, ``succession`` becomes another release, ``sdnotify`` talks to systemd.
``signals`` holds the supervisor's signals back while nobody takes them, ``process_name`` names the
processes.

The command line starts it. ``worker`` alone imports ``tunnel``: the supervisor knows nothing of the
data path.
"""
