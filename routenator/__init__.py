"""RouteNator as a library: the method, and nothing of schedulers, run directories or command lines.

Sub-packages: ``domain`` (one product API as files), ``sampling`` (quotas, graph walks, requests), ``generation``
(engines and prompts), ``validation`` (checks with typed reasons), ``dataset`` (merge, quotas, export), ``training``,
``evaluation``, ``report``.
"""

__version__ = "0.1.0"
