"""Rendered scenes in anyone's training loop: torchvision's RAFT, in twenty lines."""

import sys

import torch
from torchvision.models.optical_flow import raft_small

import autoflow

device = "cuda" if torch.cuda.is_available() else "cpu"
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
network = raft_small().to(device)
optimizer = torch.optim.AdamW(network.parameters(), lr=4e-4)
scenes = autoflow.stream(
    autoflow.Hyperparameters(), seed=0, size=(128, 160), batch_size=4, device=device
)
for step, batch in zip(range(steps), scenes, strict=False):
    flows = network(2 * batch.image1 - 1, 2 * batch.image2 - 1, num_flow_updates=6)
    loss = sum(0.8 ** (5 - i) * (flow - batch.flow).abs().mean() for i, flow in enumerate(flows))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step}: loss {loss.item():.2f}")
