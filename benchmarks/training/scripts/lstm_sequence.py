"""The next value of noisy sines, by a loop of LSTM cells."""

import torch
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self, size=64):
        super().__init__()
        self.cell = nn.LSTMCell(1, size)
        self.head = nn.Linear(size, 1)
        self.size = size

    def forward(self, x):
        h = torch.zeros(x.size(0), self.size)
        c = torch.zeros(x.size(0), self.size)
        outs = []
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
            outs.append(h)
        return self.head(torch.stack(outs, 1))


net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
start = torch.rand(512, 1) * 6
series = torch.sin(start + torch.arange(61) * 0.2).unsqueeze(-1) + 0.1 * torch.randn(512, 61, 1)
for epoch in range(20):
    total = 0.0
    for at in range(0, 512, 64):
        batch = series[at : at + 64]
        loss = nn.functional.mse_loss(net(batch[:, :-1]), batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch} loss: {total / 8:.6f}")
