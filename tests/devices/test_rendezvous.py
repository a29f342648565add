"""The roll call: all are there once each, or all are told what is wrong."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from ssl_jax.devices.rendezvous import answer_the_roll, host_and_port, report_to


def hello(process, processes, failed=""):
    return {"process": process, "processes": processes, "host": "h", "failed": failed}


def verdicts(first, *others, seconds=10.0, noise=b""):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(answer_the_roll, address, first, seconds)]
        if noise:
            pool.submit(shout, address, noise).result()
        asked += [pool.submit(report_to, address, other, seconds) for other in others]
        return {a.result() for a in asked}


def shout(address, noise):
    while True:
        try:
            with socket.create_connection(address) as line:
                return line.sendall(noise)
        except ConnectionRefusedError:
            continue


@pytest.mark.parametrize(
    ("calls", "seconds", "said"),
    [
        ([hello(0, 3), hello(2, 3), hello(1, 3)], 10, ""),
        ([hello(0, 3), hello(1, 3), hello(1, 3)], 10, "process 1 on h and process 1 on h have the same number"),
        ([hello(0, 2), hello(0, 2)], 10, "process 0 on h is not one of 1 to 1"),
        ([hello(0, 2), hello(1, 3)], 10, "process 1 on h was started as one of 3 processes, process 0 as one of 2"),
        ([hello(0, 4), hello(2, 4)], 0.5, "of 4 processes these have not come within 0.5 s: 1, 3"),
        ([hello(0, 2), hello(1, 2, "no devices")], 10, "process 1 on h: no devices"),
        ([hello(0, 2, "no devices"), hello(1, 2)], 10, "process 0 on h: no devices"),
    ],
)
def test_all_hear_the_same(calls, seconds, said):
    assert verdicts(*calls, seconds=seconds) == {said}


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"process": "x"}\n', b"\xff\n"])
def test_strangers_are_not_on_the_roll(noise):
    assert verdicts(hello(0, 2), hello(1, 2), noise=noise) == {""}


def test_a_stranger_that_answers_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        asked = pool.submit(report_to, server.getsockname(), hello(1, 2), 0.0)
        line, _ = server.accept()
        with line:
            line.sendall(b"220 ready\n")
            with pytest.raises(OSError, match="has its run begun"):
                asked.result()


def test_addresses():
    assert host_and_port("[::1]:5") == ("::1", 5)
    assert host_and_port("n1:61440") == ("n1", 61440)
