"""Things in images: their boxes, masks and keypoints; what reads, finds, scores and shows them."""
