"""The lease: one holder, whatever races, crashes and clocks do."""

import json
import time

import pytest
from memory_store import memory_store

from ssl_jax.errors import UserError
from ssl_jax.remote import lease as leases
from ssl_jax.remote.lease import Lease, acquire, name, newest, record


def held_elsewhere(store, **changes):
    """A lease whose holder is on another machine."""
    there = json.loads(record()) | {"machine": "another", "host": "far", "pid": 7} | changes
    store.write({name(newest(store) + 1): json.dumps(there).encode()})


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setenv("SSL_JAX_LEASE_SECONDS", "0.4")


def test_the_numbers_of_leases_grow_and_one_object_is_left(store):
    for number in (1, 2, 3):
        lease, before = acquire(store)
        lease.release()
        assert (lease.number, before) == (number, number - 1)
    assert list(store.sizes()) == [name(3)]


def test_a_holder_that_renews_is_left_alone(store):
    held_elsewhere(store)
    renewals = iter(range(1, 99))

    def renewing(seconds):
        store.write({name(1): store.read(name(1)).replace(b'"beats": 0', b'"beats": %d' % next(renewals))})

    with pytest.raises(UserError, match=r"in use by another run \(process 7 on far"):
        acquire(store, renewing)
    assert newest(store) == 1


def test_a_holder_that_is_silent_is_waited_for_and_taken_over(store):
    held_elsewhere(store)
    started = time.monotonic()
    lease, before = acquire(store)
    assert 0.2 < time.monotonic() - started < 5
    assert (before, lease.number) == (1, 2)
    lease.release()


@pytest.mark.parametrize(
    "gone",
    [
        {"released": True},
        {"machine": leases._machine(), "pid": 2**22 + 1},  # no process has such a number
    ],
)
def test_one_that_released_it_or_ended_on_this_machine_is_not_waited_for(store, gone):
    held_elsewhere(store, **gone)
    lease, _ = acquire(store, pause=lambda _: pytest.fail("waited"))
    lease.release()


def test_a_process_on_this_machine_that_only_stands_still_keeps_it(store):
    held_elsewhere(store, machine=leases._machine(), pid=1)
    time.sleep(0.5)
    with pytest.raises(UserError, match="in use"):
        acquire(store)


def test_of_several_that_take_over_one_gets_it_and_the_former_holder_learns_of_it(store):
    lost = []
    first = Lease(store, 1, 0.2)
    first.on_loss = lambda: lost.append(1)
    store.write({name(1): record()})
    assert [store.create(name(2), record()) for _ in range(3)] == [True, False, False]
    end = time.monotonic() + 5
    while not first.lost and time.monotonic() < end:
        time.sleep(0.02)
    first.release()
    assert lost == [1]
    assert not json.loads(store.read(name(2)))["released"]


def test_a_store_that_is_away_for_long_costs_no_lease_that_nobody_wants():
    store = memory_store()
    lease, _ = acquire(store)
    store.client.away = True
    time.sleep(0.6)
    store.client.away = False
    assert not lease.check()
    lease.release()
    assert json.loads(store.read(name(1)))["released"]
