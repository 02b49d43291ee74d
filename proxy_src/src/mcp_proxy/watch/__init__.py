"""The operators' view: the log, the metrics and the admin address.

``log`` is the log, ``log_forms`` the two forms of a line; ``log_lines`` gathers lines for
``log_output``, the descriptor; ``access_log`` has a line per request. ``metrics`` counts in one
process, ``series`` names the families, ``snapshots`` adds the processes up, ``exposition`` writes
the page, ``admin`` serves it. ``process_metrics`` measures a process; ``firewall_metrics`` and
``tunnel_metrics`` read a ``host_file`` of root.

``tls``, ``upstream``, ``tunnel`` and ``process`` log and count here. The room imports ``http`` (for
the access log), ``system.build`` and the values of ``config``, and nothing that is watched.
"""
