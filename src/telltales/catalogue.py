"""Every rule id: how bad it is, why it matters, what to try, and from which other faults it follows. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from telltales.finding import BEFORE_TRAINING, Finding, Severity

GRADIENT_OF_ZEROS = (
    "A gradient of zeros teaches nothing: on its way back it meets something flat, or is multiplied by zero.",
    "Look between this layer and the loss for a softmax, sigmoid or tanh of large values, units that are silent on "
    "every example, a multiplication by zero, or weights of zero.",
)
"""Why, and what to try, where ``no-gradient`` means that there is one, of zeros."""
NOTHING_TO_USE = (
    "An optimizer that finds no gradients changes nothing.",
    "Keep the order: optimizer.zero_grad(), loss.backward(), optimizer.step().",
)
"""The same where it means that the optimizer found none at all."""
NEVER_UPDATED = (
    "Gradients are computed and no optimizer uses them: the model stays as it is.",
    "Call optimizer.step() after backward; under a loss scaler, scaler.step(optimizer).",
)
UPDATED_BY_ANOTHER = (
    "The weights are changed by an optimizer that is not watched, such as one that the watched one wraps, so that "
    "updates can't be seen.",
    "Give telltales.watch the optimizer whose step the loop calls, or the one inside it.",
)
"""The same where ``optimizer-mismatch`` means that the watched optimizer makes no update."""


@dataclass(frozen=True)
class Entry:
    """What is known of a rule before it has found anything."""

    rule: str
    title: str
    severity: Severity
    why: str
    remedy: str


_ENTRIES = (
    # Before training, though most are seen while training, too.
    Entry(
        "initial-loss",
        "The first loss is not that of an even guess",
        "warning",
        "A net that knows nothing should guess evenly, at a loss of ln C for C classes. A higher loss means that it is "
        "confidently wrong: the first steps only unlearn that.",
        "Make the output layer's first weights smaller (times 0.1, bias 0), and check the labels and the loss.",
    ),
    Entry(
        "cannot-overfit-batch",
        "One batch can't be memorised",
        "error",
        "A model that can't learn a few examples by heart can't learn the data: something between the input and the "
        "update does not work.",
        "Look at the other findings first; then at the labels, the loss and the learning rate, on this one batch.",
    ),
    Entry(
        "input-ignored",
        "The output does not depend on the input",
        "error",
        "With the input blanked the model fits as well, so it learns the labels' shares and nothing of the input.",
        "Follow the input through the model: a detached, overwritten or multiplied-by-zero tensor, or a dead layer.",
    ),
    Entry(
        "batch-mixing",
        "One example's output depends on another example",
        "error",
        "Examples must not see one another, apart from batch norm: at prediction time the others are not there. Most "
        "often a view or reshape has mixed the batch dimension with another.",
        "Use transpose or permute in place of view or reshape to exchange dimensions; keep the batch dimension first.",
    ),
    Entry(
        "future-leak",
        "A sequence model sees what it is to predict",
        "error",
        "The output at a position depends on later inputs, or the target is the input itself: the training loss falls "
        "to nearly nothing and the model can't generate.",
        "Mask the attention (is_causal=True), pad convolutions on the left, and shift the targets by one.",
    ),
    Entry(
        "unregistered-parameter",
        "A parameter is in no optimizer",
        "error",
        "It gets gradients and never changes: part of the model stays as it was at first.",
        "Pass model.parameters() to the optimizer after the model is complete, or add a parameter group; keep modules "
        "in nn.ModuleList or nn.ModuleDict, not in a plain list.",
    ),
    Entry(
        "no-gradient",
        "A trainable parameter gets no gradient",
        "error",
        "The loss does not reach it, so it can't learn: the graph is cut between them.",
        "Look for .detach(), .data, torch.no_grad(), .item(), argmax or numpy between this layer and the loss; if it "
        "is frozen on purpose, set requires_grad to False.",
    ),
    Entry(
        "symmetric-init",
        "Units start equal and stay so",
        "error",
        "Units with the same weights get the same gradients, so that a whole layer learns as one unit.",
        "Draw the weights at random (torch.nn.init.kaiming_normal_ or xavier_uniform_); zeros are for biases.",
    ),
    Entry(
        "poor-init",
        "Activations grow or shrink from layer to layer",
        "warning",
        "The weights' scale does not fit the layers' width, so that signal and gradient change by a factor at each "
        "layer: deep layers saturate or see nothing.",
        "Draw the weights with a standard deviation of gain/sqrt(fan-in), with the gain of the activation that "
        "follows, or put a norm between the layers.",
    ),
    Entry(
        "bias-before-norm",
        "A bias stands before a norm that subtracts it",
        "note",
        "The norm takes the mean away, and the bias with it: it has no effect and no gradient.",
        "Give the layer before the norm bias=False.",
    ),
    Entry(
        "double-softmax",
        "Probabilities are given to a loss that expects logits",
        "error",
        "The loss takes the softmax (or sigmoid) itself: applied twice the gradients are small, and the loss can't "
        "come near zero.",
        "Take the softmax or sigmoid out of the model; apply it only when you predict.",
    ),
    Entry(
        "missing-log-softmax",
        "The loss expects log-probabilities and gets something else",
        "error",
        "nll_loss does not normalise: raw logits make it fall without bound, probabilities hold it between -1 and 0.",
        "Use cross_entropy on logits, or put log_softmax before nll_loss.",
    ),
    Entry(
        "loss-reduction",
        "The loss is not the mean over the batch",
        "error",
        "A loss that is detached, of the wrong sign, or summed over the batch trains wrongly, or with a learning rate "
        "that changes with the batch size.",
        "Use reduction='mean', keep the loss in the graph, and minimise it.",
    ),
    Entry(
        "tiny-batch-norm",
        "Batch norm has very few values per statistic",
        "warning",
        "A mean and a variance of so few values are noise, and the buffers used at evaluation are noise, too.",
        "Use a larger batch, or layer or group norm.",
    ),
    Entry(
        "unnormalised-input",
        "The input's scale is far from one",
        "warning",
        "First layers assume inputs of mean 0 and spread 1; far from that, gradients have the input's scale and no "
        "learning rate suits all layers.",
        "Subtract the training data's mean and divide by its standard deviation.",
    ),
    Entry(
        "constant-input",
        "An input feature never varies",
        "warning",
        "A feature without variance carries nothing, and shows that something upstream may be broken.",
        "Check how it is loaded and scaled; leave it out if it really is constant.",
    ),
    Entry(
        "shape-layout",
        "Shapes fit only by broadcasting, or dimensions are in an odd order",
        "error",
        "(B, 1) against (B,) becomes (B, B): every prediction is compared with every target, and the model learns "
        "their mean.",
        "Give prediction and target the same shape (squeeze or unsqueeze one of them); images are (B, C, H, W).",
    ),
    Entry(
        "wrong-device",
        "Model and batch are on different devices",
        "error",
        "The forward pass can't run.",
        "Move both: model.to(device), batch.to(device).",
    ),
    Entry(
        "shared-or-unused-module",
        "A module runs more than once, or never",
        "note",
        "A module that never runs is left over or forgotten; one that runs twice shares its weights and, if it is a "
        "norm or dropout, its state.",
        "Call it, remove it, or make a second one; if it is meant, mute this.",
    ),
    Entry(
        "wrong-custom-gradient",
        "A hand-written backward pass is wrong",
        "error",
        "It disagrees with the numeric derivative, so that the model descends in a wrong direction.",
        "Derive it again and check it with torch.autograd.gradcheck in float64.",
    ),
    Entry(
        "decay-on-norm",
        "Weight decay acts on biases, norms or embeddings",
        "note",
        "Decay is meant for matrices; on gains, biases and embeddings it mostly shrinks what should not shrink.",
        "Put one-dimensional parameters and embeddings into a group with weight_decay=0.",
    ),
    Entry(
        "adam-l2",
        "L2 inside Adam",
        "note",
        "Adam divides the decay by the gradient's size, too: weights with large gradients are hardly decayed.",
        "Use AdamW, which decays apart from the gradient.",
    ),
    # While training.
    Entry(
        "non-finite",
        "A number is NaN or infinite",
        "error",
        "It spreads to every parameter with the next update and never goes away.",
        "Start again from before this step. Look at the named place: a division or log of zero, an overflow, a batch "
        "with bad values; lower the learning rate or clip if the loss grew before.",
    ),
    Entry(
        "half-overflow",
        "Values are near the largest that float16 holds",
        "warning",
        "Beyond 65,504 they become infinite.",
        "Use bfloat16, or float32 for this layer; scale what goes into it down.",
    ),
    Entry(
        "loss-scale-collapse",
        "The loss scaler skips steps and shrinks",
        "warning",
        "Gradients overflow again and again, so that updates are lost.",
        "Find the layer that overflows, use bfloat16, or lower the learning rate.",
    ),
    Entry(
        "vanishing-gradient",
        "The first layers get almost no gradient",
        "warning",
        "They hardly learn, so that what comes after works on random features.",
        "Rescale the initialisation, use norms or residual connections, or ReLU in place of sigmoid or tanh.",
    ),
    Entry(
        "exploding-gradient",
        "Gradients grow without end",
        "error",
        "Updates become too large to follow, and the loss diverges.",
        "Lower the learning rate, clip the gradient's norm, or rescale the initialisation.",
    ),
    Entry(
        "gradient-spike",
        "One gradient stands out far above those before",
        "note",
        "A single update of that size can undo much of the training.",
        "Look at that batch; clip the gradient's norm.",
    ),
    Entry(
        "dead-relu",
        "Rectified units are silent on every example",
        "warning",
        "A unit that is zero everywhere gets no gradient and never comes back.",
        "Lower the learning rate, check biases and initialisation (Kaiming), or use a leaky ReLU or GELU.",
    ),
    Entry(
        "saturated",
        "Units are in the flat part of their activation",
        "warning",
        "There the gradient is close to zero, so that what comes before hardly learns.",
        "Make the weights before it smaller (gain/sqrt(fan-in)), normalise the input, or put a norm before it.",
    ),
    Entry(
        "activation-collapse",
        "A layer gives the same for every example",
        "warning",
        "Nothing of the input gets past it.",
        "Check the initialisation and the weight decay; put a norm before it.",
    ),
    Entry(
        "activation-drift",
        "A layer's activations leave the range they began in",
        "note",
        "The layers after it have to follow; it often comes before a divergence.",
        "Lower the learning rate or put a norm after the layer.",
    ),
    Entry(
        "update-too-small",
        "Updates are tiny beside the weights",
        "warning",
        "At this pace the weights hardly change in the whole training.",
        "Raise the learning rate: by the factor that brings the update ratio to about 1e-3.",
    ),
    Entry(
        "update-too-large",
        "Updates are large beside the weights",
        "warning",
        "Each step overwrites a good part of what was learnt.",
        "Lower the learning rate: by the factor that brings the update ratio to about 1e-3.",
    ),
    Entry(
        "learning-rate-too-high",
        "The learning rate is too high",
        "error",
        "Steps overshoot: the loss rises or rattles in place of falling.",
        "Divide the learning rate by 10, and look at the update ratio again.",
    ),
    Entry(
        "learning-rate-too-low",
        "The learning rate is too low",
        "warning",
        "The loss falls, but so slowly that the training would take many times as long as it need.",
        "Multiply the learning rate by 10 until the update ratio is about 1e-3.",
    ),
    Entry(
        "clipping-always-on",
        "Nearly every gradient is clipped",
        "note",
        "The clip sets the step's size in place of the learning rate: it is a learning rate in disguise.",
        "Raise the limit to a little above the usual norm, or lower the learning rate.",
    ),
    Entry(
        "schedule-ended-early",
        "The learning rate is nearly zero and the training goes on",
        "warning",
        "The steps that remain change nothing.",
        "Give the schedule the number of steps that are really taken (steps, not epochs), or end here.",
    ),
    Entry(
        "loss-not-falling",
        "The loss does not fall",
        "warning",
        "After this many steps a training that works has left its first loss.",
        "Check preflight; then the learning rate, the labels and the data's order.",
    ),
    Entry(
        "plateau",
        "The loss has stopped falling",
        "note",
        "More steps of the same kind bring little.",
        "Lower the learning rate for a while, or end; a larger model or more data may go further.",
    ),
    Entry(
        "diverging",
        "The loss rises far above its best",
        "error",
        "What was learnt is being lost.",
        "Go back to the checkpoint before and lower the learning rate, or clip the gradient's norm.",
    ),
    Entry(
        "loss-spike",
        "One loss stands out far above those before",
        "warning",
        "A bad batch, or a step that was too long.",
        "Look at the batch (its indices are in the record); clip the gradient's norm.",
    ),
    Entry(
        "oscillating",
        "The loss jumps up and down",
        "warning",
        "Steps go from one side of the valley to the other.",
        "Lower the learning rate or the momentum, or use a larger batch.",
    ),
    Entry(
        "missing-zero-grad",
        "Gradients pile up over steps",
        "error",
        "Each update uses the sum of all gradients so far: it acts like a growing momentum and soon diverges.",
        "Call optimizer.zero_grad() once for each update, before backward().",
    ),
    Entry(
        "frozen-parameter",
        "A trainable parameter never changes",
        "error",
        "It has requires_grad set, and no update has moved it.",
        "Check that its group's learning rate is not zero and that it is in the optimizer; if it is frozen on purpose, "
        "set requires_grad to False.",
    ),
    Entry(
        "frozen-moves",
        "A frozen parameter changes",
        "error",
        "It is said not to be trained, and the optimizer updates it from an old gradient or by decay.",
        "Set its grad to None when you freeze it, or leave it out of the optimizer.",
    ),
    Entry(
        "optimizer-mismatch",
        "The optimizer updates tensors that the model no longer has",
        "error",
        "Parameters were replaced after the optimizer was made, so that it trains the old ones and the model stays.",
        "Make the optimizer after the model has its final parameters (after .to(), quantisation, new heads).",
    ),
    Entry(
        "train-eval-mode",
        "The model is in the wrong mode",
        "error",
        "Dropout and batch norm behave differently while training and at evaluation.",
        "Call model.train() before training steps and model.eval() before validation, each time.",
    ),
    Entry(
        "unshuffled-data",
        "Batches come in an order",
        "warning",
        "Batches whose labels or inputs resemble their neighbours pull the model to and fro; at the end of an epoch it "
        "knows the last kind best.",
        "Shuffle: DataLoader(..., shuffle=True), or permute the data once.",
    ),
    Entry(
        "label-noise-or-shuffled",
        "The labels have nothing to do with the inputs",
        "error",
        "The loss stays at the entropy of the labels though the model is well able to learn.",
        "Check that inputs and labels are in the same order after shuffling, sorting and splitting.",
    ),
    Entry(
        "low-adam-epsilon",
        "Adam's epsilon is too small",
        "warning",
        "Where gradients are tiny, noise is divided by almost nothing and becomes a full step.",
        "Use eps=1e-8 or more in float32, 1e-4 or more in half precision.",
    ),
    Entry(
        "second-moment-blow-up",
        "Adam's second moment jumps",
        "note",
        "One huge gradient makes all steps tiny for a long time after.",
        "Clip the gradient's norm, or lower beta2.",
    ),
    Entry(
        "excessive-weight-decay",
        "Weight decay outweighs learning",
        "warning",
        "Most of each update only shrinks the weights.",
        "Divide the weight decay by 10 or more.",
    ),
    Entry(
        "weight-blow-up",
        "Weights grow without end",
        "warning",
        "Growing weights make growing activations, and end in a divergence.",
        "Lower the learning rate, or add weight decay.",
    ),
    Entry(
        "ranks-diverge",
        "Replicas of the model differ",
        "error",
        "Each process trains a model of its own.",
        "Wrap the model in DistributedDataParallel, seed all processes alike, and update only through it.",
    ),
    Entry(
        "tied-weights-diverge",
        "Tied weights are no longer tied",
        "error",
        "Two layers that should share one tensor learn apart.",
        "Tie them again after loading, moving or re-initialising (head.weight = embedding.weight).",
    ),
    # At evaluation.
    Entry(
        "overfitting",
        "The dev loss rises while the train loss falls",
        "warning",
        "The model learns the training examples by heart.",
        "Stop at the best dev loss; use more data, dropout, weight decay or a smaller model.",
    ),
    Entry(
        "overtraining",
        "The dev loss has not improved for long",
        "note",
        "The steps since its best were for nothing.",
        "Keep the best checkpoint and stop.",
    ),
    Entry(
        "dev-too-good",
        "The dev loss is lower than it can be",
        "warning",
        "Dev examples in the training set, or a leak of the label into the input, make the model look better than it "
        "is.",
        "Look for duplicates across the splits and for features that are known only afterwards. Where augmentation or "
        "dropout in a forward function raises the training loss, evaluate the training data as well, as the split "
        "train: then the two are compared.",
    ),
    Entry(
        "train-eval-gap",
        "The model does much worse in evaluation mode",
        "error",
        "Batch norm's buffers do not describe the data: evaluation uses other statistics than training.",
        "Use a momentum of 0.1, recompute the buffers on training data, and check that they are updated in train mode.",
    ),
    Entry(
        "class-imbalance",
        "Rare classes are ignored",
        "warning",
        "The mean loss is low though the model is nearly always wrong on some classes.",
        "Weight the loss by class, sample evenly, and report each class.",
    ),
    Entry(
        "baseline-not-beaten",
        "A counted baseline is better",
        "warning",
        "A table of counts, which trains in no time, does as well or better.",
        "Do not ship it: look at the other findings, train longer, or use the baseline.",
    ),
)

CATALOGUE: Mapping[str, Entry] = {entry.rule: entry for entry in _ENTRIES}


def made(
    rule: str,
    evidence: str,
    where: str = "",
    step: int = BEFORE_TRAINING,
    *,
    numbers: Mapping[str, Any] | None = None,
    places: Iterable[str] = (),
    severity: Severity | None = None,
    remedy: str | None = None,
    why: str | None = None,
) -> Finding:
    """A finding of a rule in the catalogue; what is left out is the catalogue's."""
    entry = CATALOGUE[rule]
    return Finding(
        rule,
        severity or entry.severity,
        where,
        step,
        evidence,
        why or entry.why,
        remedy or entry.remedy,
        numbers or {},
        tuple(places),
    )
