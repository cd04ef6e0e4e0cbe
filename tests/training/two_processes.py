"""What each of two processes does in `test_processes`: one step of a linear model, then a whole
training of MIMIC by the command. It leaves what it found in a folder.

    torchrun --nproc_per_node 2 -m tests.training.two_processes FOLDER train mimic ...
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mmer_lib.training import fit, loop
from mmer_lib.training.loop import train
from tests.training import small_demo
from tests.training.conftest import fresh, linear_parts
from tests.training.test_loop import SETTINGS

DEV = 150
"""Utterances of the development part: batches of 64, 64 and 22."""


def first_step():
    """By name, the gradients that the first step of a training of the linear model takes; and the
    labels of the development part that are scored after it."""
    found, model = {}, fresh()

    def remember(optimiser, args, kwargs):
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        found.setdefault("gradients", gradients)

    def answers(*args):
        logits, found["truth"] = original(*args)
        return logits, found["truth"]

    original, loop.answers = loop.answers, answers
    hook = register_optimizer_step_pre_hook(remember)
    once = replace(SETTINGS, max_epochs=1, clip=0.0)
    train(model, linear_parts(DEV), once, device="cpu", progress=False)
    hook.remove()
    loop.answers = original
    return found


def main(folder, argv):
    found = first_step()
    original = fit.train

    def keeping(model, *args):
        trained = original(model, *args)
        found["weights"] = model.state_dict()
        found["history"] = trained.history
        return trained

    fit.train = keeping
    code = small_demo.main(argv)
    torch.save(found, folder / f"{PartialState().process_index}.pt")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
