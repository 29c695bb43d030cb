"""Where it was written first, or best, what a rule looks for."""

from __future__ import annotations

RECIPE = "A. Karpathy 2019, *A Recipe for Training Neural Networks*"
MAKEMORE = "A. Karpathy, *Building makemore part 3: activations and gradients, BatchNorm*"
CS231N = "Stanford CS231n, *Neural Networks*, parts 2 and 3"
GLOROT = "Glorot and Bengio 2010, *Understanding the difficulty of training deep feedforward neural networks*"
HE = "He, Zhang, Ren and Sun 2015, *Delving deep into rectifiers*"
AUTOTRAINER = (
    "Zhang, Zhai, Ma and Shen 2021, *AUTOTRAINER: an automatic DNN training problem detection and repair system*"
)
DIAGNOSIS = (
    "Wardat, Cruz, Le and Rajan 2022, *DeepDiagnosis: automatically diagnosing faults in deep learning programs*"
)
UMLAUT = "Schoop, Huang and Hartmann 2021, *UMLAUT: debugging deep learning programs*"
TRAINCHECK = (
    "Jiang and others 2025, *Training with confidence: catching silent errors in deep learning training* (TrainCheck)"
)
PLAYBOOK = "Godbole, Dahl, Gilmer, Shallue and Nado 2023, *Deep Learning Tuning Playbook*"
BATCH_NORM = "Ioffe and Szegedy 2015, *Batch normalization*"
DECOUPLED = "Loshchilov and Hutter 2019, *Decoupled weight decay regularization*"
MIXED = "Micikevicius and others 2018, *Mixed precision training*"
DEBUGGER = "Rauschmayr and others 2021, *Amazon SageMaker Debugger*"

REFERENCES: dict[str, tuple[str, ...]] = {
    "initial-loss": (RECIPE + ": verify the loss at the beginning", CS231N),
    "cannot-overfit-batch": (RECIPE + ": overfit one batch", CS231N),
    "input-ignored": (RECIPE + ": the input-independent baseline",),
    "batch-mixing": (RECIPE + ": use backprop to chart dependencies",),
    "future-leak": (RECIPE + ": use backprop to chart dependencies",),
    "unregistered-parameter": ("PyTorch issues 14467 and 57776",),
    "no-gradient": (RECIPE, UMLAUT),
    "symmetric-init": (CS231N + ": all zero initialisation",),
    "poor-init": (GLOROT, HE, MAKEMORE),
    "bias-before-norm": (BATCH_NORM + ", section 3.2",),
    "double-softmax": ("PyTorch's documentation of CrossEntropyLoss: the input are logits", UMLAUT),
    "missing-log-softmax": ("PyTorch's documentation of NLLLoss: the input are log-probabilities", UMLAUT),
    "loss-reduction": ("PyTorch's documentation of CrossEntropyLoss, `reduction`",),
    "tiny-batch-norm": ("Wu and He 2018, *Group normalization*, figure 1",),
    "unnormalised-input": ("LeCun, Bottou, Orr and Müller 1998, *Efficient BackProp*, section 4.3", UMLAUT),
    "constant-input": ("LeCun, Bottou, Orr and Müller 1998, *Efficient BackProp*, section 4.3",),
    "shape-layout": ("PyTorch's own warning at `mse_loss`", RECIPE),
    "wrong-custom-gradient": ("PyTorch's documentation of `torch.autograd.gradcheck`", CS231N + ": gradient checks"),
    "decay-on-norm": ("He and others 2019, *Bag of tricks for image classification*, section 3.1",),
    "adam-l2": (DECOUPLED,),
    "non-finite": (AUTOTRAINER, DEBUGGER),
    "half-overflow": (MIXED,),
    "loss-scale-collapse": (MIXED,),
    "vanishing-gradient": ("Bengio, Simard and Frasconi 1994, *Learning long-term dependencies is difficult*", GLOROT),
    "exploding-gradient": (
        "Pascanu, Mikolov and Bengio 2013, *On the difficulty of training recurrent networks*",
        DIAGNOSIS,
    ),
    "gradient-spike": ("Pascanu, Mikolov and Bengio 2013, *On the difficulty of training recurrent networks*",),
    "dead-relu": ("Lu, Shin, Su and Karniadakis 2019, *Dying ReLU and initialization*", AUTOTRAINER),
    "saturated": (GLOROT, MAKEMORE, "Zhai and others 2023, *Preventing attention entropy collapse*"),
    "activation-collapse": (GLOROT,),
    "activation-drift": (BATCH_NORM,),
    "update-too-small": (MAKEMORE, CS231N + ": the ratio of updates to weights"),
    "update-too-large": (MAKEMORE, CS231N + ": the ratio of updates to weights"),
    "learning-rate-too-high": (PLAYBOOK, AUTOTRAINER),
    "learning-rate-too-low": (PLAYBOOK, AUTOTRAINER),
    "clipping-always-on": (PLAYBOOK + ": more than half of the updates clipped",),
    "schedule-ended-early": (PLAYBOOK,),
    "loss-not-falling": (DEBUGGER,),
    "plateau": (DEBUGGER,),
    "diverging": (DIAGNOSIS,),
    "loss-spike": ("Chowdhery and others 2022, *PaLM*, section 5.1", "Lightning's `SpikeDetection`"),
    "oscillating": (AUTOTRAINER,),
    "missing-zero-grad": ("PyTorch issue 47175",),
    "frozen-parameter": (TRAINCHECK,),
    "frozen-moves": (TRAINCHECK,),
    "optimizer-mismatch": ("PyTorch issue 14467", TRAINCHECK),
    "train-eval-mode": (RECIPE, UMLAUT),
    "unshuffled-data": (RECIPE,),
    "label-noise-or-shuffled": (
        "Zhang and others 2017, *Understanding deep learning requires rethinking generalization*",
    ),
    "low-adam-epsilon": ("Kingma and Ba 2015, *Adam*",),
    "second-moment-blow-up": (
        "Molybog and others 2023, *A theory on Adam instability in large-scale machine learning*",
    ),
    "excessive-weight-decay": (DECOUPLED,),
    "weight-blow-up": (DEBUGGER,),
    "ranks-diverge": (TRAINCHECK,),
    "tied-weights-diverge": (TRAINCHECK,),
    "overfitting": ("Prechelt 1998, *Early stopping: but when?*", DEBUGGER),
    "overtraining": ("Prechelt 1998, *Early stopping: but when?*", DEBUGGER),
    "dev-too-good": ("Kaufman, Rosset and Perlich 2011, *Leakage in data mining*",),
    "train-eval-gap": (BATCH_NORM, "Wu and Johnson 2021, *Rethinking 'batch' in BatchNorm*"),
    "class-imbalance": (DEBUGGER,),
    "baseline-not-beaten": (RECIPE,),
}
