"""One optimiser step: forward and backward pass, clipping, Muon and AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from transformers import GPTBigCodeForCausalLM

from training.forward import Layer, compile_layer, hidden_state, layer_output
from training.labels import LabelWeights, inputs_and_labels, label_weights
from training.loss import SliceFunction, compile_slice_gradient, in_place_gradient
from training.loss import weighted_cross_entropy as cross_entropy
from training.model import ModelShape, build_model
from training.muon import BatchedMuon
from training.packing import Rows
from training.plan import LearningRates

_MAX_GRADIENT_NORM = 1.0


def make_optimizers(
    model: nn.Module, rates: LearningRates, *, is_fused: bool
) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices in the layers, AdamW for embeddings, norms and biases."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_layer_matrix = parameter.ndim == 2 and ".h." in name
        (matrices if is_layer_matrix else others).append(parameter)
    muon = BatchedMuon(matrices, lr=rates.muon, weight_decay=rates.weight_decay)
    adam = torch.optim.AdamW(
        others, lr=rates.adam, betas=(0.9, 0.95), weight_decay=0.0, fused=is_fused
    )
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adam]


class StepRunner:
    """A model, its optimisers, and the functions that compute a step on a device.

    Under `accelerate launch` each process computes its share of a step's sequences, and the
    gradients are added.
    """

    def __init__(
        self,
        shape: ModelShape,
        rates: LearningRates,
        state: PartialState,
        *,
        seed: int = 0,
        rows_per_batch: int = 8,
    ) -> None:
        torch.manual_seed(seed)
        self.shape, self.state, self.rows_per_batch = shape, state, rows_per_batch
        self.device: torch.device = state.device
        self.model: GPTBigCodeForCausalLM = build_model(shape).to(self.device)
        self.optimizers = make_optimizers(self.model, rates, is_fused=self.device.type == "cuda")
        self._layer: Layer = layer_output
        self._slice_function: SliceFunction = in_place_gradient

    def compile(self, num_rows: int, say: Callable[[str], None] = print) -> bool:
        """Compile the layer and the loss for steps of `num_rows`; return whether that worked.

        If it fails, the steps are computed without compilation. Weights do not change.
        """
        self._layer, self._slice_function = compile_layer(), compile_slice_gradient()
        rows = np.random.default_rng(0).integers(
            0, self.shape.vocab_size, (num_rows, self.shape.positions)
        )
        try:
            self._add_gradients(rows.astype(np.uint16), LabelWeights())
            self.synchronize()
        except Exception as error:  # a compiler can fail in any way
            say(f"without compilation, which failed: {type(error).__name__}: {str(error)[:2000]}")
            self._layer, self._slice_function = layer_output, in_place_gradient
            return False
        finally:
            self.model.zero_grad(set_to_none=True)
        return True

    def run(self, rows: Rows, weights: LabelWeights, factor: float) -> Tensor:
        """Run a step on sequences (count, length), with learning rates multiplied by `factor`.

        Returns the loss, the weighted mean of nats per token, on the device: reading it waits for
        the step.
        """
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
        loss = self._add_gradients(rows, weights)
        nn.utils.clip_grad_norm_(self.model.parameters(), _MAX_GRADIENT_NORM)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return loss

    def synchronize(self) -> None:
        """Wait until the device has computed everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _add_gradients(self, rows: Rows, options: LabelWeights) -> Tensor:
        """Compute the step's gradients, summed over the processes; return its loss."""
        num_processes = self.state.num_processes
        inputs, labels = inputs_and_labels(self._to_device(rows))
        weights = label_weights(inputs, labels, options)
        total_weight = weights.sum().clamp(min=1.0)
        total_loss = torch.zeros((), device=self.device)
        for batch in self._batches(len(rows)):
            hidden = hidden_state(self.model, inputs[batch], self._layer)
            loss = cross_entropy(
                hidden.flatten(0, 1),
                self.model.lm_head.weight,
                labels[batch].flatten().clamp(min=0),
                weights[batch].flatten(),
                self._slice_function,
            )
            loss = loss / total_weight
            loss.backward()  # type: ignore[no-untyped-call]
            total_loss += loss.detach()
        if num_processes > 1:
            for parameter in self.model.parameters():
                torch.distributed.all_reduce(parameter.grad)
            torch.distributed.all_reduce(total_loss)
        return total_loss

    def _batches(self, num_rows: int) -> Iterator[slice]:
        """Yield the batches of this process, of equal size, in a step of `num_rows`."""
        share = num_rows // self.state.num_processes
        size = max(n for n in range(1, min(self.rows_per_batch, share) + 1) if share % n == 0)
        first = self.state.process_index * share
        for start in range(first, first + share, size):
            yield slice(start, start + size)

    def _to_device(self, rows: Rows) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(rows).view(np.int16))
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)
