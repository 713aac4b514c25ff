"""RouteNator as a library: the method itself. It knows no scheduler, run directory or command line.

Sub-packages: ``domain`` (one product API as files), ``authoring`` (tools to check and derive domains), ``population``
(statistics from real queries), ``sampling`` (quotas, graph walks, requests), ``wording`` (heuristic drafts),
``generation`` (engines and prompts), ``validation`` (checks with typed reasons), ``dataset`` (merge, quotas, export),
``training``, ``evaluation``, ``report``.
"""

__version__ = "0.1.0"
