"""A cluster without a cluster: what the chart renders, started as processes on the loopback address.

`plan.py` reads pods as Kubernetes would: commands, environments, mounted files, probes, grace. `service.py` spreads
connections over a Service's ready pods, as kube-proxy does. `pods.py` is the kubelet: processes, probes, preStop,
SIGTERM, SIGKILL. `cluster.py` puts them together. Engines are simulated workers, everything else is the real program.
"""

from .cluster import Cluster
from .plan import Objects
from .pods import Ended, Pod

__all__ = ["Cluster", "Ended", "Objects", "Pod"]
