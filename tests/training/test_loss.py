"""The loss in slices equals the plain loss, and requests to the model have no weight."""

import functools

import pytest
import tokenizers
import torch
from torch.nn import functional

from training.dialogues import MinedDialogue, chatml_segments
from training.formats import encode_segments
from training.labels import LabelWeights, RoleTokens, label_weights
from training.loss import (
    in_place_gradient,
    loss_layout,
    slice_gradient,
    weighted_cross_entropy,
)


@pytest.mark.parametrize("tokens", [1, 1024, 1500])
def test_loss_and_gradients_equal_the_plain_ones(tokens: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(tokens, 16, requires_grad=True)
    table = torch.randn(50, 16, requires_grad=True)
    labels, weights = torch.randint(0, 50, (tokens,)), torch.rand(tokens)
    loss = weighted_cross_entropy(hidden, table, labels, weights)
    (loss * 2).backward()
    plain = functional.cross_entropy(hidden @ table.T, labels, reduction="none")
    expected = torch.autograd.grad((plain * weights).sum() * 2, (hidden, table))
    torch.testing.assert_close(loss, (plain * weights).sum())
    torch.testing.assert_close(hidden.grad, expected[0])
    torch.testing.assert_close(table.grad, expected[1])


def test_both_forms_of_a_slice_are_equal_and_ignore_padded_ids() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(20, 64), torch.randint(0, 50, (20, 1)), torch.rand(20, 1)
    loss, gradient = slice_gradient(logits, labels, weights, 50)
    torch.testing.assert_close(
        (loss, gradient), in_place_gradient(logits.clone(), labels, weights, 50)
    )
    plain = functional.cross_entropy(logits[:, :50], labels[:, 0], reduction="none")
    torch.testing.assert_close(loss, (plain * weights[:, 0]).sum())
    assert not gradient[:, 50:].any()


def test_the_layout_for_a_gpu_gives_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tensors = torch.randn(90, 16), torch.randn(50, 16)
    labels, weights = torch.randint(0, 50, (90,)), torch.rand(90)
    results = []
    for device_type in ("cpu", "cuda"):
        layout = functools.partial(loss_layout, device_type=device_type)
        monkeypatch.setattr("training.loss.loss_layout", lambda *a, f=layout: f(*a[:2]))
        hidden, table = (tensor.clone().requires_grad_() for tensor in tensors)
        loss = weighted_cross_entropy(hidden, table, labels, weights, slice_gradient)
        loss.backward()
        results.append((loss, hidden.grad, table.grad))
    torch.testing.assert_close(*results)


def test_the_loss_works_in_half_precision() -> None:
    torch.manual_seed(0)
    hidden, table = torch.randn(30, 16).bfloat16(), torch.randn(50, 16)
    labels, weights = torch.randint(0, 50, (30,)), torch.ones(30)
    loss = weighted_cross_entropy(hidden, table, labels, weights)
    plain = functional.cross_entropy(hidden.float() @ table.T, labels, reduction="sum")
    torch.testing.assert_close(loss, plain, rtol=0.02, atol=0)


def test_only_the_assistants_tokens_are_learned(tokenizer: tokenizers.Tokenizer) -> None:
    ids = encode_segments(chatml_segments(MinedDialogue("explain", "Why?", "So.")), tokenizer)
    row = torch.tensor([ids])
    data = LabelWeights(role_tokens=RoleTokens.from_tokenizer(tokenizer))
    weights = label_weights(row[:, :-1], row[:, 1:], data)[0]
    learned = [id_ for id_, weight in zip(ids[1:], weights.tolist(), strict=True) if weight]
    text = tokenizer.decode(learned, skip_special_tokens=False)
    assert text == "\nSo.<|end|>\n"
