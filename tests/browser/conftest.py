"""A real server and a real Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from torch import nn

from tensorview.app import Viewer, explore

from .visit import Visit

torch.set_num_threads(1)

FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]


class Odd(nn.Module):
    """Every way of feeding, in one small model that knows class names and dislikes white."""

    title = "Odd"
    input_shape = (3, 16, 16)
    class_names = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "koi", "lark")

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.pool = nn.MaxPool2d(2)
        self.wide = nn.Linear(7 * 8 * 8, 1000)
        self.head = nn.Linear(1000, 12)
        self.same.weight.data = torch.eye(3).reshape(3, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        same = self.same(x)
        stem = self.stem(x)
        if stem.shape and float(x.mean()) > 0.95:
            raise RuntimeError("this is too white")
        total = self.grouped(stem) + self.depthwise(stem)
        pooled = self.pool(torch.cat([total, same], dim=1))
        return self.head(torch.relu(self.wide(pooled.flatten(1))))


def asymmetric_picture() -> bytes:
    """A PNG of 16 x 16 that looks different from every side: noise, with a white bar near the top left."""
    pixels = np.random.default_rng(5).integers(0, 60, (16, 16, 3), dtype=np.uint8)
    pixels[1:4, 1:6] = 255
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put these tests last: Playwright keeps an event loop in this thread, in which no other can run."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lenet() -> Iterator[Viewer]:
    """The shipped LeNet-5, served."""
    with explore("lenet5", port=0, browser=False) as viewer:
        yield viewer


@pytest.fixture(scope="session")
def odd() -> Iterator[Viewer]:
    """A model of one's own, served."""
    torch.manual_seed(1)
    with explore(Odd().eval(), port=0, browser=False) as viewer:
        yield viewer


@pytest.fixture(scope="session")
def lenet_page(browser: Browser, lenet: Viewer) -> Iterator[Visit]:
    visit = Visit(browser, lenet)
    yield visit
    visit.close()


@pytest.fixture(scope="session")
def odd_page(browser: Browser, odd: Viewer) -> Iterator[Visit]:
    visit = Visit(browser, odd)
    yield visit
    visit.close()


@pytest.fixture(scope="session")
def phone_page(browser: Browser, lenet: Viewer) -> Iterator[Visit]:
    visit = Visit(browser, lenet, has_touch=True, is_mobile=True, viewport={"width": 820, "height": 700})
    yield visit
    visit.close()


@pytest.fixture
def phone(phone_page: Visit) -> Iterator[Visit]:
    """LeNet-5's page where fingers touch it; what it complains about fails the test."""
    phone_page.start_again()
    yield phone_page
    assert phone_page.faults == []


@pytest.fixture
def digits(lenet_page: Visit) -> Iterator[Visit]:
    """LeNet-5's page as it is when it is new; what it complains about fails the test."""
    lenet_page.start_again()
    yield lenet_page
    assert lenet_page.faults == []


@pytest.fixture
def animals(odd_page: Visit) -> Iterator[Visit]:
    """The page of `Odd` with an asymmetric picture in it; what it complains about fails the test."""
    odd_page.start_again()
    odd_page.upload(asymmetric_picture())
    odd_page.wait_until("document.querySelector('[data-testid=preview]')")
    odd_page.settle()
    yield odd_page
    assert odd_page.faults == []


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """`visit(viewer, ...)`: a page of its own, closed at the end; what it complains about fails the test."""
    visits: list[Visit] = []

    def open_page(viewer: Viewer, **options: Any) -> Visit:
        visits.append(Visit(browser, viewer, **options))
        return visits[-1]

    yield open_page
    faults = [fault for each in visits for fault in each.faults]
    for each in visits:
        each.close()
    assert faults == []
