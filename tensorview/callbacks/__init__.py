"""Training that a framework runs becomes a run as well: a callback for each, over the one recorder.

    tensorview.callbacks.lightning      PyTorch Lightning's `Trainer`
    tensorview.callbacks.transformers   Hugging Face's `Trainer`
    tensorview.callbacks.keras          Keras 3 on its torch backend

Each has a `WatchCallback`. Nothing of a framework is imported before its module is.
"""
