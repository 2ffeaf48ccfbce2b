"""The replicas of a gateway behind a TCP balancer, replaced one after the other while clients go on asking."""

import os
from contextlib import ExitStack

from tests.support.client_load import ClientLoad
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_idle, wait_until_up
from tests.support.raw_http import MODEL
from tests.support.sim_worker import Script, SimWorker
from tests.support.tcp_balancer import TcpBalancer

FULL = bool(os.environ.get("TESTS_FULL"))
ROUNDS = 3 if FULL else 1
CLIENTS = 16 if FULL else 6
"""Of each kind: half of them keep their connections."""
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "roll on"}]}


def test_a_rolling_restart_of_all_replicas_loses_nothing(sim_worker: SimWorker) -> None:
    """SIGTERM, the end, a start on the same port, a worker that is up, then the next: no client sees any of it."""
    sim_worker.script(Script(chunks=("word ",), repeat=10, delay_s=0.02, times=None))
    config = gateway_config(sim_worker.url, server={"drain_s": 20})
    with ExitStack() as stack:
        replicas = [stack.enter_context(GatewayProcess(config)) for _ in range(3)]
        for replica in replicas:
            wait_until_up(replica)
        balancer = stack.enter_context(TcpBalancer([replica.port for replica in replicas]))
        with ClientLoad(balancer.url, TEST_KEY, BODY, unary=CLIENTS, streams=CLIENTS) as load:
            load.wait_for(2 * CLIENTS)
            for _ in range(ROUNDS):
                for index, replica in enumerate(replicas):
                    assert replica.stop() == 0
                    load.wait_for(CLIENTS)
                    replicas[index] = GatewayProcess(config, arguments=["--port", str(replica.port)])
                    wait_until_up(stack.enter_context(replicas[index]))
                    load.wait_for(CLIENTS)
        print(f"\n{load.outcome.done} answered while {ROUNDS * len(replicas)} replicas were replaced")
        assert load.outcome.lost == [], balancer.log[-2000:]
        for replica in replicas:
            wait_until_idle(replica)
