"""Tables of a study beside the paper's: accuracies (`lines` has what they share), Table 7, spectra of dW."""
