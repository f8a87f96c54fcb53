"""Raw topic -> read model: a Faust agent that folds each raw item into one document per video."""
