import numpy as np
import torch
from scipy.optimize import minimize

from representation.readout.logistic import fit_logistic


def test_the_optimum_is_scipys():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    labels = (features[:, :3] + torch.randn(60, 3, generator=generator)).argmax(1)
    x, y, decay = features.numpy(), labels.numpy(), 0.05

    def objective(flat):
        weight, bias = flat[:12].reshape(3, 4), flat[12:]
        logits = x @ weight.T + bias
        logits = logits - logits.max(1, keepdims=True)
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(60), y]
        return losses.mean() + decay / 2 * (weight**2).sum()

    best = minimize(objective, np.zeros(15), method="BFGS", options={"gtol": 1e-8})
    linear = fit_logistic(features, labels, 3, weight_decay=decay)
    flat = torch.cat((linear.weight.flatten(), linear.bias)).numpy()
    assert objective(flat) <= best.fun + 1e-7
    assert np.abs(linear.weight.numpy().ravel() - best.x[:12]).max() < 1e-3
    again = fit_logistic(features, labels, 3, weight_decay=decay)
    assert torch.equal(again.weight, linear.weight)
