import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Single small images are slower in several threads that share few cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
