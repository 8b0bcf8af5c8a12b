"""A Ray cluster of processes on loopback: a head with no place to measure, and two nodes with one GPU each, as they claim.

Prints its address; ends a node as a power cut would for every line it reads, and itself when there is nothing more to read.
"""

import sys

from ray.cluster_utils import Cluster

LOOPBACK = "127.0.0.1"
# A lost node is noticed within two seconds instead of twenty.
HEALTH = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


def main() -> None:
    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": LOOPBACK, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=2, num_gpus=1, node_ip_address=LOOPBACK) for _ in range(2)]
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
