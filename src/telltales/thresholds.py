"""Every number that a verdict rests on, with its source. No torch here.

"Published": by a tool or a paper of the field, see docs/rules. "Bench": set on the tuning half of
benchmarks/faultbench. "Proposal": ours, and open to a better one.
"""

from __future__ import annotations


class Threshold(float):
    """A number that says where it comes from."""

    source: str

    def __new__(cls, value: float, source: str) -> Threshold:
        made = super().__new__(cls, value)
        made.source = source
        return made


# Before training
FEW_CLASSES_SLACK = Threshold(0.5, "Proposal: nats; a default output layer costs 0.1 to 0.4 of them, by chance.")
ROW_SUM = Threshold(1e-4, "Proposal: a softmax in float32 sums to 1 within 1e-6.")
EQUAL_ROWS = Threshold(1e-5, "Proposal: share of the largest number that rounding explains in float32.")
ZERO_UP_TO_ROUNDING = Threshold(1e-4, "Proposal: a bias's gradient beside its weights'.")
DEPENDS = Threshold(1e-4, "Published: 0; other kernels for other values round to 1e-6 of the outputs' std.")
NEXT_TOKEN = Threshold(0.95, "Proposal: share of the targets that are the next input; ends of documents are not.")
INPUT_SCALE = Threshold(10, "Proposal: the input's std, and its mean in units of it.")
SMALL_INPUT = Threshold(0.01, "Proposal: the input's std.")
CONSTANT_FEATURE = Threshold(1e-5, "Published: a feature's std.")
FEWEST_ROWS = Threshold(16, "Proposal: rows before a feature is called constant.")
MOST_FEATURES = Threshold(10_000, "Proposal: more are a bag of words, in which most are zero.")
DENSE_FEATURES = Threshold(0.95, "Proposal: share of numbers that are not zero, for a column of zeros to stand out.")
MEMORISED = Threshold(0.1, "Published: share of the first loss, both without the batch's own floor.")
STILL_FALLING = Threshold(0.05, "Proposal: share that a loss falls by in the last quarter of the steps.")
HALFWAY = Threshold(0.5, "Proposal: share of the first loss below which one that still falls will get there.")
MOVED_AT_ALL = Threshold(1e-3, "Proposal: share of the first loss, for losses whose lowest value is not known.")
PARAMETERS_PER_TARGET = Threshold(20, "Proposal: trained numbers for each target of four examples; fewer are too few.")
GRADIENT_ERROR = Threshold(1e-2, "Published: relative error in float64.")


# While training: structure
LEFT_OUT_ON_PURPOSE = Threshold(0.5, "Proposal: who trains only a head leaves most parameters out of the optimizer.")
ROUNDING_ERRORS = Threshold(
    1e-5, "Proposal: a gradient beside the largest; a bias before a norm has a thousandth of it."
)
FEWEST_UPDATES = Threshold(5, "Proposal: observed updates without any gradient.")
NO_UPDATE = Threshold(65, "Proposal: observed steps without an update; that many micro-batches are rarely one step.")
STALE_GRADIENTS = Threshold(0.5, "Proposal: share of the gradients; a missing zero_grad makes it 1.")
TINY_BATCH_NORM = Threshold(8, "Wu and He 2018, Group Normalization, figure 1: error rises below 8.")
SMALLEST_EPSILON = Threshold(1e-12, "Proposal: the default is 1e-8, and 1e-12 is the smallest in published recipes.")
HALF_EPSILON = Threshold(1e-7, "float16 holds nothing positive below 6e-8.")

# While training: numbers
HALF_LIMIT = Threshold(2.0**15, "Proposal: half of the largest float16.")
SKIPPED_UPDATES = Threshold(0.1, "Proposal: share of updates that a loss scaler leaves out.")
SMALLEST_LOSS_SCALE = Threshold(1.0, "Proposal: below it, gradients are made smaller to fit.")

# While training: the signal on its way through the layers
SATURATED = Threshold(0.5, "Published: share of a layer's values in the flat part.")
STUCK_UNITS = Threshold(0.3, "Proposal, bench: share of units that are in the flat part on every example.")
SATURATED_ROWS = Threshold(3, "Proposal: observed steps that it must last.")
FLAT_ENTROPY = Threshold(0.05, "Published: attention entropy as a share of the uniform distribution's, at first.")
DEAD_UNITS = Threshold(0.5, "Published: share of units that are silent on every example.")
DIED = Threshold(0.15, "Proposal: share of units that fell silent since the first step, for half of them to count.")
MOSTLY_DEAD = Threshold(0.75, "Proposal: share of silent units that counts however many were silent at first.")
DEAD_AT_ONCE = Threshold(0.95, "Proposal, bench: so many silent units need no further evidence.")
DEAD_ROWS = Threshold(5, "Proposal: a small batch may leave rare units silent; not so many, and not every time.")
LAYER_STD_RATIO = Threshold(10, "Published: largest to smallest activation std over depth, at first.")
WRONG_SCALE = Threshold(3, "Bench: std of weights against gain/sqrt(fan-in); PyTorch's own default is at 0.35 to 0.6.")
FAR_OFF = Threshold(10, "Proposal: the first squared error against that of zeros, where weights are too large as well.")
TOO_SMALL = Threshold(1 / 9, "Proposal: the same, for weights that are too small; see the next two, too.")
FAR_TOO_SMALL_WITH_NORMS = Threshold(
    0.03, "Bench: with norms the signal passes, but updates are huge beside such weights."
)
FAR_TOO_SMALL = Threshold(0.1, "Bench: weights so far below gain/sqrt(fan-in) let no signal through without norms.")
VANISHING = Threshold(1e-3, "Published: first to last layer's ratio of gradient to weight.")
VANISHING_OUTPUTS = Threshold(1e-2, "Bench: first to last layer's gradient of the outputs, besides.")
EXPLODING_DEPTH = Threshold(70, "DeepDiagnosis: first to last layer's gradient of the outputs.")
EXPLODING_GROWTH = Threshold(100, "Bench: gradient norm against its own first median.")
GRADIENT_SPIKE = Threshold(10, "Bench: gradient norm against the median of those before.")
COLLAPSED = Threshold(1e-6, "Published: a layer's std that is zero up to rounding.")
BEGAN_SMALL = Threshold(0.1, "Proposal: a layer's std at first beside the median layer's, for its growth to be meant.")
DRIFT = Threshold(10, "Published: a layer's std against its own at the beginning.")

# While training: updates
NEAR_ZERO_OUTPUT = Threshold(0.2, "Proposal: std of the first output weights in 1/sqrt(fan-in); recipes begin at 0.1.")
UPDATE_GUIDE = Threshold(1e-3, "Karpathy, makemore part 3: about -3 on the log10 scale.")
LARGE_UPDATE = Threshold(10**-1.5, "Published: update to weight.")
MANY_LARGE_UPDATES = Threshold(0.1, "Bench: the median of the first updates, where nothing was learnt from them.")
HUGE_UPDATE = Threshold(0.5, "Bench: two updates in a row that replace half of the weights.")
WHOLE_UPDATE = Threshold(1.0, "Bench: an update as large as the weights, in the first steps.")
FARTHEST = Threshold(1e-4, "Proposal: by so much a learning rate is changed at once, on the word of one number.")
FIRST_STEPS = Threshold(50, "Proposal: steps that count as the first.")
AT_ONCE = Threshold(10, "Proposal: steps in which no training makes its weights many times as large.")
SETTLED = Threshold(5, "Proposal: steps after which Adam's updates are no longer those of its first estimates.")
SMALL_UPDATE = Threshold(2e-4, "Bench; published: 1e-4. It counts where the loss hardly falls, too.")
SLOW_PROGRESS = Threshold(0.05, "Bench: share of the first loss that is gone by then.")
FEWEST_LOSSES = Threshold(40, "Proposal: steps before anything is said of the loss.")
CLIPPED_BELOW = Threshold(
    0.999, "Proposal: share of its norm that a gradient is left, to be clipped; more is rounding."
)
CLIPPED_SHARE = Threshold(0.5, "Published: share of updates whose gradient was clipped.")
RATE_ENDED = Threshold(1e-3, "Proposal: learning rate against its highest.")
IDLE_SHARE = Threshold(0.2, "Proposal: share of all steps so far that came after the rate had ended.")
DECAY_SHARE = Threshold(0.5, "Proposal: share of the update, or of the gradient, that is due to decay.")
SHRUNK = Threshold(0.9, "Proposal: the weights' norm against the first, for decay to be excessive.")
WEIGHT_GROWTH = Threshold(10, "Proposal: the weights' norm against the first.")

# While training: the loss
INITIAL_LOSS = Threshold(0.15, "Proposal: share above ln C.")
RUNAWAY = Threshold(1000, "Proposal: a loss below zero against its first, or 1, where no lowest value is known.")
DIVERGED = Threshold(2, "Published, by several tools: the loss against its best.")
LOST_PROGRESS = Threshold(0.5, "Bench: share of what the loss had fallen by that is lost again.")
LOSS_SPIKE = Threshold(3, "Published: the loss against the mean of those before.")
SPIKE_DEVIATIONS = Threshold(8, "Bench: the same in standard deviations of those before.")
SMALL_SPIKE = Threshold(0.5, "Proposal: the loss against its first; less is a hard example among easy ones.")
GRAVE_SPIKE = Threshold(10, "Bench: the loss against its first, for a spike to be more than worth knowing.")
RATTLE = Threshold(-0.5, "Proposal: correlation of a loss with the one before; noise alone has 0.")
RATTLE_SIZE = Threshold(0.1, "Proposal: std of the loss against its mean, for its jumps to matter.")
KNOWN = Threshold(0.8, "Proposal: the first loss against a guess's, below which a model was trained before.")
NOT_FALLING = Threshold(0.01, "Bench: share of the first loss.")
T_VALUE = Threshold(3, "Three standard errors: one in 700 by chance.")
PLATEAU = Threshold(1e-3, "Published: share of the loss in a window.")
GUESS_MARGIN = Threshold(0.15, "Bench: share by which a guess differs between samples of the data.")
LONG_ENOUGH = Threshold(150, "Bench: steps after which a small net has left the entropy of the labels.")
LONG_TRAINING = Threshold(1000, "Proposal: steps after which any training has begun to learn, if it ever will.")
MEMORISED_SHARE = Threshold(0.3, "Bench: below this share of the labels' entropy examples were learnt by heart.")
BY_CHANCE = Threshold(1e-6, "Proposal: how often shuffled batches may differ more; a training asks hundreds of times.")
LABEL_ENTROPY = Threshold(0.05, "Bench: share by which the loss must get below the entropy of the labels.")
BATCHES_DIFFER = Threshold(4, "Bench: variance between batches against what chance gives, 1.")
EVENLY_HELD = Threshold(1e-3, "Proposal: e to the entropy of a batch's labels, beside a whole number of classes.")
ONE_CLASS = Threshold(0.1, "Proposal: entropy of a batch's labels against ln C.")

# At evaluation
NEARLY_EVEN = Threshold(
    0.7, "Proposal: the first loss against that of an even guess; half of it is of two micro-batches."
)
OVERFIT_RISE = Threshold(0.05, "Bench: the last dev loss above the lowest.")
RISE_BY_CHANCE = Threshold(0.015, "Proposal: how often evaluations that only scatter rise as steadily.")
BY_HEART = Threshold(0.1, "Bench: the training loss beside the dev loss.")
LITTLE_LEARNT = Threshold(0.5, "Bench: the dev loss beside the first loss.")
SOMETHING_LEARNT = Threshold(0.2, "Proposal: the same, for what is worth knowing.")
FALLEN = Threshold(0.01, "Bench: share by which the training loss fell meanwhile.")
OVERFIT_GAP = Threshold(0.1, "Published: (dev - train) / train.")
TOO_GOOD = Threshold(0.5, "Bench: the dev loss below the training loss; small dev sets differ by less.")
TINY_CLIP = Threshold(0.01, "Proposal: share of the gradient's norm that is left.")
GAP_AT_ONCE = Threshold(1.5, "Published: evaluation loss against the training loss on the same data.")
GAP_MATTERS = Threshold(0.05, "Proposal: share of the first loss; less is little, whatever it is beside a tiny loss.")
HALF_INITIAL = Threshold(0.5, "Proposal: share of batch norm's buffers that is still what it was before training.")
WORSE_THAN_UNTRAINED = Threshold(1.2, "Bench: the dev loss against the first training loss.")
IMBALANCE = Threshold(10, "Published: examples of the largest class for each of the class in question.")
CLASS_ERROR = Threshold(0.7, "Published: share of a class's examples that are predicted wrongly.")
CLASS_LEARNT = Threshold(0.5, "Proposal: share of all examples that are, above which nothing was learnt of any class.")
FEWEST_OF_CLASS = Threshold(5, "Proposal: examples of a class, before its error is more than chance.")
PATIENCE = Threshold(0.5, "Proposal: share of the evaluations that came after the best.")
