"""Imports what most jobs do, once for all workers: see `nursery`. What they share is never looked at as garbage."""

import gc
import importlib

JOB = ("calclab.app.compute", "calclab.app.sweep.batch", "calclab.topic.descent")
FORMULA = ("calclab.subject.formula", "flint", "torch.fx.experimental.symbolic_shapes")
TENSORBOARD = ("tensorboard.plugins.text.metadata", "tensorboard.plugins.hparams.api_pb2")

gc.disable()
for name in (*JOB, *FORMULA, *TENSORBOARD, "filelock"):
    importlib.import_module(name)
importlib.import_module("calclab.app.provenance").revision()  # asks git, and remembers
gc.freeze()
gc.enable()
