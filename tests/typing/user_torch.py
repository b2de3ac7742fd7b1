"""What users of torch write, with every public name: read by type checkers, never run."""

import torch

import fastreg.torch
from fastreg.torch import Accelerated

net = torch.nn.Sequential(
    fastreg.torch.BatchNorm1d(4, eps=1e-3, momentum=None),
    fastreg.torch.BatchNorm2d(4, affine=False),
    fastreg.torch.BatchNorm3d(4),
    fastreg.torch.LayerNorm([2, 4], bias=False),
    fastreg.torch.RMSNorm(4),
    fastreg.torch.GroupNorm(2, 4),
    fastreg.torch.InstanceNorm1d(4, affine=True),
    fastreg.torch.InstanceNorm2d(4),
    fastreg.torch.InstanceNorm3d(4),
    fastreg.torch.Dropout(0.5, inplace=True),
    fastreg.torch.Dropout1d(),
    fastreg.torch.Dropout2d(),
    fastreg.torch.Dropout3d(),
    fastreg.torch.AlphaDropout(),
    fastreg.torch.GaussianDropout(0.2),
)
layers: list[torch.nn.LayerNorm] = [fastreg.torch.LayerNorm(4)]
done: Accelerated = fastreg.torch.accelerate(net)
names: list[str] = [*done.swapped, *done.left.values()]
fastreg.torch.restore(net)
optimizers: list[torch.optim.Optimizer] = [
    fastreg.torch.SGD(net.parameters(), 0.1, momentum=0.9, lambda_l1=1e-4, l1_mode="prox"),
    fastreg.torch.Adagrad(net.parameters()),
    fastreg.torch.RMSprop(net.parameters(), clip_value=1.0),
    fastreg.torch.Adam(net.parameters(), on_nonfinite="skip"),
    fastreg.torch.AdamW(net.named_parameters(), lr=1e-3, exclude=["*.bias"], clip_norm=1.0),
    fastreg.torch.NAdam(net.parameters(), exclude=lambda p: p.ndim < 2),
    fastreg.torch.RAdam(net.parameters(), lambda_l2=0.1),
    fastreg.torch.Adamax(net.parameters()),
    fastreg.torch.Adadelta(net.parameters()),
    fastreg.torch.Lion(net.parameters(), betas=(0.9, 0.99), weight_decay=0.1),
]
optimizer = fastreg.torch.AdamW(net.parameters(), ema_decay=0.99)
optimizer.step()
optimizer.swap_ema()
optimizer.load_state_dict(optimizer.state_dict())
number: float = optimizer.grad_norm + optimizer.skipped
torch.optim.lr_scheduler.StepLR(optimizer, 3).step()
