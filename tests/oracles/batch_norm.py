"""Batch normalisation (Ioffe and Szegedy 2015, algorithms 1 and 2), with the statistics that PyTorch keeps."""

import numpy as np

EPSILON = 1e-5


class BatchNormTwin:
    """Normalises by the batch in training and by the running statistics after it."""

    def __init__(self, weight, bias, running_mean, running_var, momentum=0.1):
        self.weight, self.bias = weight, bias
        self.running_mean, self.running_var, self.momentum = running_mean, running_var, momentum

    def train(self, batch):
        """Normalise by the batch's biased variance, but remember its unbiased one."""
        mean = batch.sum(axis=0) / len(batch)
        squares = ((batch - mean) ** 2).sum(axis=0)
        unbiased, biased = squares / (len(batch) - 1), squares / len(batch)
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * unbiased
        return self.weight * (batch - mean) / np.sqrt(biased + EPSILON) + self.bias

    def evaluate(self, batch):
        return self.weight * (batch - self.running_mean) / np.sqrt(self.running_var + EPSILON) + self.bias
