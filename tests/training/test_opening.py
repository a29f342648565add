"""What a run says before its first step."""

import jax
import numpy as np

from ssl_jax.training import opening


class Source(list):
    classes = ("a", "b")


def test_each_line_has_its_numbers():
    assert opening.data(Source(range(1200))) == "data: 1,200 records of 2 classes (Source)"
    assert opening.data([0]) == "data: 1 records (list)"
    assert opening.plan(32, 40, 1024) == "plan: 40 steps of 32 records, 1.25 epochs"
    params = {"encoder": {"kernel": np.zeros((30, 40)), "bias": np.zeros(40)}, "head": np.zeros(10)}
    assert opening.parameters(params) == "parameters: 1,250 (encoder 1,240, head 10)"


def test_devices_are_counted_and_axes_of_one_left_out():
    one = jax.make_mesh((1, 1), ("data", "fsdp"), devices=jax.devices()[:1])
    assert opening.devices(one) == "devices: 1 x cpu"
    two = jax.make_mesh((1, 2), ("data", "fsdp"), devices=jax.devices()[:2])
    assert opening.devices(two) == "devices: 2 x cpu, mesh fsdp 2"


def test_only_the_first_use_is_told():
    said = []
    add = opening.first_timed(lambda form, *args: said.append(form % args), "compiling", lambda a, b: a + b)
    assert [add(1, 2), add(3, 4)] == [3, 7]
    assert [line.split(" in ")[0] for line in said] == ["compiling ...", "compiling: done"]
