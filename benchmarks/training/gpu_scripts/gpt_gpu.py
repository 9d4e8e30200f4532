"""A transformer on the characters of scikit-learn's data set descriptions, on a GPU."""

import torch
from sklearn import datasets
from torch import nn

torch.manual_seed(0)
text = "".join(
    load().DESCR for load in (datasets.load_iris, datasets.load_digits, datasets.load_wine, datasets.load_diabetes)
)
letters = sorted(set(text))
codes = torch.tensor([letters.index(one) for one in text]).cuda()
LENGTH, WIDTH = 256, 512


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        q, k, v = (one.view(x.size(0), LENGTH, 8, -1).transpose(1, 2) for one in self.qkv(self.norm1(x)).chunk(3, -1))
        scores = (q @ k.transpose(-2, -1)) / q.size(-1) ** 0.5
        mask = torch.triu(torch.ones(LENGTH, LENGTH, device=x.device), 1).bool()
        seen = torch.softmax(scores.masked_fill(mask, float("-inf")), -1) @ v
        x = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(len(letters), WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(6)))
        self.head = nn.Linear(WIDTH, len(letters))

    def forward(self, x):
        return self.head(self.blocks(self.token(x) + self.place(torch.arange(LENGTH, device=x.device))))


net = Gpt().cuda()
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4)
mean = 0.0
for step in range(120):
    at = torch.randint(len(codes) - LENGTH - 1, (64,))
    batch = torch.stack([codes[one : one + LENGTH + 1] for one in at])
    loss = nn.functional.cross_entropy(net(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    mean = 0.95 * mean + 0.05 * loss.item()
    if step % 20 == 19:
        print(f"step {step} loss: {mean / (1 - 0.95 ** (step + 1)):.4f}")
