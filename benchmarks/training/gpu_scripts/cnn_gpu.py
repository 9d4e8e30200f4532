"""A convolutional network on scikit-learn's digits, turned a little by the loader as it reads them, on a GPU."""

import numpy as np
import torch
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X.reshape(-1, 8, 8) / 16, y, random_state=0)


class Turned(Dataset):
    def __len__(self):
        return len(X_train)

    def __getitem__(self, at):
        angle = 20 * (torch.rand(()).item() - 0.5)
        image = ndimage.rotate(ndimage.zoom(X_train[at], 4), angle, reshape=False)
        return torch.tensor(image[None], dtype=torch.float32), int(y_train[at])


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(128 * 64, 256), nn.ReLU(), nn.Linear(256, 10),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


net = Net().cuda()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
loader = DataLoader(Turned(), batch_size=64, shuffle=True)
tests = torch.tensor(np.stack([ndimage.zoom(one, 4) for one in X_test])[:, None], dtype=torch.float32).cuda()
wanted = torch.tensor(y_test).cuda()
for epoch in range(10):
    net.train()
    total = 0.0
    for images, labels in loader:
        loss = nn.functional.cross_entropy(net(images.cuda()), labels.cuda())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    net.eval()
    with torch.no_grad():
        held = nn.functional.cross_entropy(net(tests), wanted).item()
    print(f"epoch {epoch} train {total / len(loader):.4f} loss: {held:.4f}")
