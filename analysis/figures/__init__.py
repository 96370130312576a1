"""The paper's Figures 3, 4, 6, 7 and 8, drawn from a study, each beside what chance alone would give."""
