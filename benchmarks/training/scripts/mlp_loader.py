"""A perceptron on wine-like rows through a DataLoader with workers and a light transform."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)
np.random.seed(0)


class Rows(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, at):
        return torch.from_numpy(self.x[at]).float(), self.y[at]


def main():
    x = np.random.randn(4000, 20)
    y = (x[:, 0] * x[:, 1] + 0.3 * np.random.randn(4000) > 0).astype(np.int64)
    train = DataLoader(Rows(x[:3000], y[:3000]), batch_size=64, shuffle=True, num_workers=4)
    held_x, held_y = torch.from_numpy(x[3000:]).float(), torch.from_numpy(y[3000:])
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for epoch in range(10):
        for rows, labels in train:
            loss = nn.functional.cross_entropy(net(rows), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        held = nn.functional.cross_entropy(net(held_x), held_y).item()
        print(f"epoch {epoch} loss: {held:.5f}")


if __name__ == "__main__":
    main()
