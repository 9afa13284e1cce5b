"""Visual-Advantage On-Policy Distillation (arXiv:2605.21924) for unmodified verl."""
