"""Record a training loop, and watch it on a page beside. `--no-browser` only records."""

import sys

import torch
from torch import nn

import tensorview as tv

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 6, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(6, 12, kernel_size=3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(12 * 8 * 8, 2),
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def bars(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy pictures of a bar that lies (0) or stands (1)."""
    images, labels = 0.3 * torch.rand(count, 1, 16, 16), torch.randint(0, 2, (count,))
    for image, label in zip(images, labels, strict=True):
        middle = int(torch.randint(3, 12, ()))
        (image[0].T if label else image[0])[middle : middle + 2, 2:14] += 0.7
    return images, labels


probe, _ = bars(1)
content = ("activations", "weights", "gradients")
page = "--no-browser" not in sys.argv
with tv.watch(model, probe, "runs/bars", every=5, content=content, class_names=["lying", "standing"], open=page) as run:
    for _ in range(400):
        images, labels = bars(32)
        scores = model(images)
        loss = nn.functional.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.step(loss=loss.item(), accuracy=(scores.argmax(1) == labels).float().mean())

print(f"{400 // 5 + 1} steps are recorded, {run.bytes_per_step / 1000:.0f} kB each: tensorview watch {run.path}")
if page:
    input("The page stays until Enter is pressed. ")
