"""How a network is trained: the train step, what happens along the way, exact resume."""
