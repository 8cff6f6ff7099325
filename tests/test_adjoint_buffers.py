"""The memory of the fused adjoint: whose it is, and that it is given back."""

import copy
import gc
import io
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import F64, randn, random_hnet, seeded
from torch import Tensor, nn

import srnn
from srnn.motion.adjoint import _rollout
from srnn.motion.adjoint._rollout import Lease, lease
from srnn.motion.adjoint._sweep import carve

FUSED = (None, "stored", "recompute", "reversible", "reversible-exact")
SPAN: dict[str, Any] = {"dt": 0.1, "steps": 5}


def hnet(seed: int = 0, hidden: int | tuple[int, ...] = (6, 5)) -> srnn.HNet:
    return random_hnet(seed, hidden=hidden, quadratic=True)


def blocks(net: nn.Module) -> list[Any]:
    """The memory that nobody uses now, in this thread."""
    pool = _rollout._POOLS.get(net)
    return [] if pool is None else list(pool.free)


def gradients(net: nn.Module, z0: Tensor, gradient: str | None = None) -> list[Tensor]:
    z = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN)
    found = torch.autograd.grad(z.square().sum(), list(net.parameters()), allow_unused=True)
    return [z.detach(), *(g for g in found if g is not None)]


def train(net: nn.Module, seed: int, gradient: str | None = None, steps: int = 12) -> list[Tensor]:
    """Teach `net` some random states."""
    z0, target = randn(seed, 20, 4), randn(seed + 1, 6, 20, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN) - target).square()
        loss.mean().backward()
        optimizer.step()
    return [weight.detach().clone() for weight in net.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def in_threads(tasks: list[Callable[[], Any]]) -> list[Any]:
    """Run all at once, each in a thread of its own, and return what they return."""
    found: list[Any] = [None] * len(tasks)
    together = threading.Barrier(len(tasks))

    def work(k: int) -> None:
        together.wait()
        try:
            found[k] = tasks[k]()
        except BaseException as error:
            found[k] = error

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found


# -- rollouts do not get into each other's way ----------------------------------------------------


@pytest.mark.parametrize("order", ["same", "reversed"])
@pytest.mark.parametrize("gradient", FUSED)
def test_rollouts_of_one_model_before_any_backward_pass(gradient: str | None, order: str) -> None:
    net, starts = hnet(), [randn(k, 7, 4) for k in range(4)]
    alone = [gradients(net, z0, gradient) for z0 in starts]
    series = [srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN) for z0 in starts]
    which = range(4) if order == "same" else reversed(range(4))
    of = list(net.parameters())
    for k in which:
        found = torch.autograd.grad(series[k].square().sum(), of, allow_unused=True)
        assert same([series[k].detach(), *(g for g in found if g is not None)], alone[k])
    # With rollouts without a gradient in between, and in one backward pass.
    series = [srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN) for z0 in starts]
    with torch.no_grad():
        for size in (7, 70, 3):
            srnn.rollout(net, "leapfrog", randn(1, size, 4), gradient=gradient, **SPAN)
    total = torch.stack([z.square().sum() for z in series]).sum()
    together = torch.autograd.grad(total, of, allow_unused=True)
    for k, gathered in enumerate(g for g in together if g is not None):
        added = torch.stack([one[k + 1] for one in alone]).sum(dim=0)
        torch.testing.assert_close(gathered, added, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("gradient", FUSED)
def test_one_piece_of_memory_serves_batches_of_every_size(gradient: str | None) -> None:
    # Layouts overlap: what one of them set once and for all, such as ones, another overwrites.
    net, starts = hnet(), {size: randn(size, size, 4) for size in (130, 40, 7)}
    fresh = {size: gradients(copy.deepcopy(net), z0, gradient) for size, z0 in starts.items()}
    for size in (130, 40, 7, 40, 7, 130, 40):  # the largest first: later ones fit into its memory
        assert same(gradients(net, starts[size], gradient), fresh[size])


def test_more_layouts_than_are_remembered() -> None:
    net = hnet()
    cases = [(size, way) for size in (40, 7, 1) for way in FUSED]
    fresh = [gradients(copy.deepcopy(net), randn(size, size, 4), way) for size, way in cases]
    assert len(cases) > _rollout._LAYOUTS
    for _ in range(2):
        for (size, way), expected in zip(cases, fresh, strict=True):
            assert same(gradients(net, randn(size, size, 4), way), expected)


def test_dtypes_and_widths_have_layouts_of_their_own() -> None:
    net, z0 = hnet(), randn(0, 7, 4)
    double = gradients(net, z0)
    net.float()
    single = gradients(net, z0.float())
    assert {x.dtype for x in single} == {torch.float32}
    for one, other in zip(single, double, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
    net.double()
    wide = srnn.HNet(2, (16, 9), True, generator=seeded(1), dtype=F64)
    net.kinetic, net.potential = wide.kinetic, wide.potential
    assert same(gradients(net, z0), gradients(wide, z0))


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", [None, "recompute", "reversible-exact"])
def test_models_that_train_side_by_side_learn_what_they_learn_alone(gradient: str | None) -> None:
    alone = [train(hnet(k), k, gradient) for k in range(2)]
    nets = [hnet(k) for k in range(2)]
    beside = in_threads([lambda k=k: train(nets[k], k, gradient) for k in range(2)])
    for k in range(2):
        assert same(beside[k], alone[k])


@pytest.mark.parametrize("gradient", [None, "recompute", "reversible"])
def test_one_model_in_two_threads(gradient: str | None) -> None:
    net, starts = hnet(), [randn(k, 20, 4) for k in range(2)]
    alone = [gradients(net, z0, gradient) for z0 in starts]

    def again(k: int) -> bool:
        return all(same(gradients(net, starts[k], gradient), alone[k]) for _ in range(25))

    assert in_threads([lambda k=k: again(k) for k in range(2)]) == [True, True]


def test_a_backward_pass_in_another_thread() -> None:
    net, z0 = hnet(), randn(0, 20, 4)
    expected = gradients(net, z0)
    z = srnn.rollout(net, "leapfrog", z0, **SPAN)
    of = list(net.parameters())
    (found,) = in_threads([lambda: torch.autograd.grad(z.square().sum(), of, allow_unused=True)])
    assert same([z.detach(), *(g for g in found if g is not None)], expected)
    assert same(gradients(net, z0), expected)


# -- without a gradient ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("gradient", FUSED)
def test_without_a_gradient_the_values_are_the_same(
    gradient: str | None, mode: Callable[[], Any]
) -> None:
    net, z0 = hnet(), randn(0, 100, 4)
    expected = gradients(copy.deepcopy(net), z0, gradient)
    with mode():
        z = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN)
    assert not z.requires_grad
    assert z.grad_fn is None
    assert torch.equal(z, expected[0])
    assert same(gradients(net, z0, gradient), expected)  # and the mode leaves nothing behind


def test_without_a_gradient_nothing_is_kept() -> None:
    def used(steps: int, grad: bool) -> int:
        net = hnet()
        with torch.set_grad_enabled(grad):
            z = srnn.rollout(net, "leapfrog", randn(0, 100, 4), dt=0.1, steps=steps)
        if grad:
            z.sum().backward()
        (block,) = blocks(net)
        return len(block.bytes)

    assert used(5, grad=False) == used(50, grad=False)
    assert used(50, grad=True) > 5 * used(5, grad=True)


def test_how_memory_grows_with_the_number_of_steps() -> None:
    def growth(gradient: str) -> int:
        sizes = []
        for steps in (10, 60):
            net = hnet(hidden=(32, 32))
            z0 = randn(0, 100, 4)
            z = srnn.rollout(net, "leapfrog", z0, dt=0.1, steps=steps, gradient=gradient)
            z.sum().backward()
            sizes.append(max(len(block.bytes) for block in blocks(net)))
        return sizes[1] - sizes[0]

    assert growth("reversible") == growth("reversible-exact") == 0
    # At least the inputs of every rate, and the two layers' activations: 2 numbers and 64.
    rates = 2 * 50 * 100 * 8
    assert 2 * rates <= growth("recompute") < 8 * rates
    assert growth("stored") >= 64 * rates


# -- given back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", FUSED)
def test_training_takes_no_more_memory_with_time(gradient: str | None) -> None:
    net = hnet()
    train(net, 0, gradient, steps=2)
    before = {id(block) for block in blocks(net)}
    assert before
    train(net, 0, gradient, steps=50)
    assert {id(block) for block in blocks(net)} == before


def test_batches_of_changing_size_take_no_more_than_a_few_pieces_of_memory() -> None:
    net = hnet()
    for k in range(50):
        gradients(net, randn(k, 1 + 13 * k % 40, 4))
        assert len(blocks(net)) <= _rollout._KEPT
    assert all(len(block.views) <= _rollout._LAYOUTS for block in blocks(net))


@pytest.mark.parametrize("gradient", FUSED)
def test_a_rollout_that_is_dropped_gives_its_memory_back(gradient: str | None) -> None:
    net, z0 = hnet(), randn(0, 7, 4)
    gradients(net, z0, gradient)
    before = {id(block) for block in blocks(net)}
    for _ in range(10):
        z = srnn.rollout(net, "leapfrog", z0, gradient=gradient, **SPAN)
        del z
    assert {id(block) for block in blocks(net)} == before


def test_many_rollouts_at_once_keep_two_pieces_in_the_end() -> None:
    net, z0 = hnet(), randn(0, 7, 4)
    series = [srnn.rollout(net, "leapfrog", z0 + k, **SPAN) for k in range(6)]
    torch.stack([z.sum() for z in series]).sum().backward()
    assert len(blocks(net)) == _rollout._KEPT


@pytest.mark.parametrize("gradient", FUSED)
def test_a_model_that_is_gone_takes_its_memory_with_it(gradient: str | None) -> None:
    net = hnet()
    train(net, 0, gradient, steps=2)
    with torch.no_grad():
        srnn.rollout(net, "leapfrog", randn(0, 9, 4), gradient=gradient, **SPAN)
    gone = [weakref.ref(net), *(weakref.ref(block) for block in blocks(net))]
    assert len(gone) > 1
    del net
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


def test_what_a_thread_took_goes_with_the_thread() -> None:
    net = hnet()

    def work() -> list[Any]:
        train(net, 0, steps=2)
        return [weakref.ref(block) for block in blocks(net)]

    (taken,) = in_threads([work])
    gc.collect()
    assert taken
    assert [ref() for ref in taken] == [None] * len(taken)
    assert blocks(net) == []


def test_large_pieces_go_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rollout, "_LARGEST", 100)
    net = hnet()
    gradients(net, randn(0, 7, 4))
    assert blocks(net) == []


def test_a_loan_is_given_back_once() -> None:
    net = hnet()
    loans = []
    for _ in range(2):
        _, loan = lease(net, "a", torch.empty(0), lambda: 64, lambda memory: memory)
        loans.append(loan)
    assert loans[0].block is not loans[1].block
    for _ in range(2):
        loans[0].release()
    assert len(blocks(net)) == 1
    memory, again = lease(net, "a", torch.empty(0), lambda: 64, lambda memory: memory)
    assert isinstance(again, Lease)
    assert len(memory) == 64
    assert blocks(net) == []


def test_arrays_in_a_piece_of_memory_do_not_overlap() -> None:
    shapes = [(3, 5), (1,), (0, 4), (7, 2)]
    _, size = carve(None, shapes, F64)
    memory = torch.zeros(size, dtype=torch.uint8)
    views, again = carve(memory, shapes, F64)
    assert again == size
    assert [tuple(view.shape) for view in views] == shapes
    for k, view in enumerate(views):
        view.fill_(k + 1)
    assert all(bool((view == k + 1).all()) for k, view in enumerate(views))
    assert all(view.data_ptr() % 64 == memory.data_ptr() % 64 for view in views if view.numel())


# -- copies ---------------------------------------------------------------------------------------


def test_a_copy_of_a_trained_model_is_a_model_of_its_own() -> None:
    net, z0 = hnet(), randn(0, 7, 4)
    size = len(pickle.dumps(net))
    train(net, 0, steps=2)
    for p in net.parameters():
        p.grad = None
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    copies: list[Any] = [
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        torch.load(file, weights_only=False),
    ]
    assert len(pickle.dumps(net)) < size + 100  # and none of the memory with it
    expected = gradients(net, z0)
    for other in copies:
        assert blocks(other) == []
        assert same(gradients(other, z0), expected)
        assert not {id(b) for b in blocks(other)} & {id(b) for b in blocks(net)}
        train(other, 3, steps=2)
    assert same(gradients(net, z0), expected)
