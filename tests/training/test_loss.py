"""The loss in slices is the loss, and what is asked of the model counts nothing."""

import pytest
import tokenizers
import torch
from torch.nn import functional

from training.dialogues import Turn, chatml
from training.formats import ids_of
from training.loss import weighted_cross_entropy
from training.packing import Rows
from training.pretrain import Marks, Part, label_weights


@pytest.mark.parametrize("tokens", [1, 1024, 1500])
def test_it_equals_the_plain_one_with_its_gradients(tokens: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(tokens, 16, requires_grad=True)
    table = torch.randn(50, 16, requires_grad=True)
    labels, weights = torch.randint(0, 50, (tokens,)), torch.rand(tokens)
    made = weighted_cross_entropy(hidden, table, labels, weights)
    (made * 2).backward()
    slow = functional.cross_entropy(hidden @ table.T, labels, reduction="none")
    expected = torch.autograd.grad((slow * weights).sum() * 2, (hidden, table))
    torch.testing.assert_close(made, (slow * weights).sum())
    torch.testing.assert_close(hidden.grad, expected[0])
    torch.testing.assert_close(table.grad, expected[1])


def test_it_may_be_in_half_precision() -> None:
    torch.manual_seed(0)
    hidden, table = torch.randn(30, 16).bfloat16(), torch.randn(50, 16)
    labels, weights = torch.randint(0, 50, (30,)), torch.ones(30)
    made = weighted_cross_entropy(hidden, table, labels, weights)
    plain = functional.cross_entropy(hidden.float() @ table.T, labels, reduction="sum")
    torch.testing.assert_close(made, plain, rtol=0.02, atol=0)


def test_only_the_assistants_tokens_are_learned(tokenizer: tokenizers.Tokenizer) -> None:
    ids = ids_of(chatml(Turn("explain", "Why?", "So.")), tokenizer)
    row = torch.tensor([ids])
    rows: Rows = row.numpy().astype("uint16")
    part = Part(rows, 1, marks=Marks.of(tokenizer))
    weights = label_weights(row[:, :-1], row[:, 1:], part)[0]
    learned = [id_ for id_, weight in zip(ids[1:], weights.tolist(), strict=True) if weight]
    text = tokenizer.decode(learned, skip_special_tokens=False)
    assert text == "\nSo.<|end|>\n"
