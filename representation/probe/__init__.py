"""A look at a few labelled images while an encoder is trained without labels."""
