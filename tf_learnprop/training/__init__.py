"""How rules are trained, and maps refined: baselines for masked pixels, objectives, a training step."""
