"""Video: clips with a noise level per frame, so that one model generates, predicts, interpolates and animates."""
