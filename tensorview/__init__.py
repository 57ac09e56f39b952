"""See any PyTorch network in 3D: every layer, every feature map, every neuron."""
