"""What torch's DataLoader and torchvision make of a folder of pictures: run by a Python that has them, imported by nobody."""

import json
import sys
import time

import torch
import torchvision
from torchvision import transforms


class TwoViews:
    """Two random resized crops of one picture, as uint8 tensors."""

    def __init__(self, size):
        self.crop = transforms.Compose([transforms.RandomResizedCrop(size), transforms.PILToTensor()])

    def __call__(self, picture):
        """Both of them."""
        return self.crop(picture), self.crop(picture)


def rate(data, batch, batches, workers):
    """Records a second of wall time after the first batches."""
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=batch * (batches + 5))
    loader = iter(torch.utils.data.DataLoader(data, batch, sampler=sampler, num_workers=workers))
    for _ in range(5):
        next(loader)
    start = time.perf_counter()
    for _ in range(batches):
        next(loader)
    return batch * batches / (time.perf_counter() - start)


def main():
    """Answer the question on the command line, as JSON."""
    asked = json.loads(sys.argv[1])
    data = torchvision.datasets.ImageFolder(asked["root"], TwoViews(asked["size"]))
    sizes, turns = (asked["batch"], asked["batches"]), range(asked["turns"])
    rates = {f"DataLoader, {n} workers": max(rate(data, *sizes, n) for _ in turns) for n in (0, 2)}
    print(json.dumps({"torch": torch.__version__, "torchvision": torchvision.__version__} | rates))


if __name__ == "__main__":
    main()
