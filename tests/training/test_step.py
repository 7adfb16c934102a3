"""The fast step computes the same as transformers and torch.optim.Muon."""

import pytest
import torch
from torch import nn

from training.forward import hidden_state, layer_output
from training.model import ModelShape, build_model, flops_per_token
from training.muon import BatchedMuon

SHAPE = ModelShape(width=128, layers=3, positions=64, vocab_size=200)


def test_the_forward_pass_equals_transformers_except_for_rounding() -> None:
    torch.manual_seed(0)
    model = build_model(SHAPE).eval()
    for parameter in model.parameters():  # biases start at zero, and norms at one
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    ids = torch.randint(0, 200, (3, 64))
    expected = model.transformer(input_ids=ids, use_cache=False).last_hidden_state
    difference = hidden_state(model, ids).float() - expected
    assert difference.norm() < 0.02 * expected.norm()


def test_muon_updates_batches_as_torch_updates_single_matrices() -> None:
    torch.manual_seed(0)
    shapes = [(8, 16), (16, 8), (8, 16), (32, 8), (12, 12)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    muon = BatchedMuon(ours, lr=0.02, weight_decay=0.05)
    expected = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.05, adjust_lr_fn="original")
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        muon.step()
        expected.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own
def test_a_layer_is_traced_once_without_breaks_and_used_for_all_layers() -> None:
    torch.compiler.reset()
    model, ids, graphs = build_model(SHAPE), torch.randint(0, 200, (2, 64)), []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    layer = torch.compile(layer_output, fullgraph=True, dynamic=False, backend=backend)
    hidden_state(model, ids, layer).sum().backward()
    assert len(graphs) == 1
    torch.compiler.reset()


def test_flops_are_six_for_each_weight_of_a_matrix_and_those_of_attention() -> None:
    model = build_model(SHAPE)
    matrices = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 2 and "wpe" not in n)
    assert flops_per_token(SHAPE) == pytest.approx(6 * matrices + 6 * 3 * 64 * 128)
