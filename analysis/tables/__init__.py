"""The paper's Table 7 and the spectra of dW, computed from a study."""
