"""What users of torch get wrong: each line marked so must be reported by every type checker."""

import torch

import fastreg.torch

net = torch.nn.Linear(2, 2)

fastreg.torch.accelerate("net")  # wrong
fastreg.torch.accelerate(net).swaped  # wrong
fastreg.torch.restore()  # wrong
fastreg.torch.Dropout("half")  # wrong
fastreg.torch.GaussianDropout(0.5, False, 3)  # wrong
fastreg.torch.LayerNorm()  # wrong
fastreg.torch.GroupNorm(2)  # wrong
fastreg.torch.AdamW(net.parameters()).grad_nrom  # wrong
fastreg.torch.AdamW(net.parameters()).swap_ema(net)  # wrong
fastreg.torch.AdamW(net.parameters(), on_nonfinite=0)  # wrong
fastreg.torch.SGD(net.parameters(), lambda_l1="much")  # wrong
fastreg.torch.AdamW(net.parameters()).step(3)  # wrong
