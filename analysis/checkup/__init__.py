"""What is in any adapter on disk: a check-up, a comparison of several, a smaller copy."""
