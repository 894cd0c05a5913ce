import torch


class Signs(torch.optim.Optimizer):
    """Steps of nearly one size in the direction of the momentum, with decoupled decay."""

    def __init__(self, groups, lr, momentum=0.9, weight_decay=0.1):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(torch.tanh(50 * momentum), alpha=group["lr"])


def build(config, groups):
    return Signs(groups, config.lr)
